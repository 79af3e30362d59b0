"""What training a run needs and Apple GPUs lack."""

from __future__ import annotations

from stlm.batches import BatchPlan
from stlm.data.shards import Corpus, Shard
from stlm.model.lm import LM, ends_of_bytes
from stlm.nn.weights import parameters_of
from stlm.train.apple import TEXT, TOKENS, Trace, lacking
from stlm.train.loop import scale_and_clip
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.run_config import RunConfig


def lacking_in_training(config: RunConfig) -> str | None:
    """What training this run needs and Apple GPUs lack, in words; None if nothing. It is found by one step on the CPU."""
    def step(trace: Trace) -> None:
        tokenizer = config.data.tokenizer.outline()
        model, objective = LM(config.model, tokenizer), config.objective.build(tokenizer, config.model)
        shard, with_loss = Shard.of(TEXT, tokenizer), ModelWithLoss(model, objective)
        plan = BatchPlan(Corpus("", "", tokenizer, shard, shard, None), objective, TOKENS, 2, 1, 0,
                         ends_of_bytes(model.patching, tokenizer.bos))
        batch, optimizers = config.batches.build(plan).probe(), config.optim.build(parameters_of(model, objective))
        model.set_progress(0.0)
        objective.set_progress(0.0)
        with trace:
            loss = with_loss(batch)
            loss.total.backward()
            scale_and_clip(list(with_loss.parameters()), loss.count, config.train.grad_clip)
            trace.part = f"optim = {config.optim.kind}"
            for optimizer in optimizers:
                optimizer.step()

    return lacking(step, config)
