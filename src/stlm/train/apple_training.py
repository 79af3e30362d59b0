"""Whether an Apple GPU can train a run."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from stlm.batches import BatchPlan
from stlm.data.shards import Corpus, Shard
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.model.room import from_tokens
from stlm.nn.weights import parameters_of
from stlm.train.apple import APPLE, TEXT, TOKENS, why_not, why_not_read
from stlm.train.loop import scale_and_clip
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.parallel import Parallel
from stlm.train.run_config import RunConfig


def why_not_train(config: RunConfig, processes: int = 1, gpu: torch.device = APPLE) -> str | None:
    """Why so many processes can't train this run on an Apple GPU; None if they can. A step of a fresh model is tried."""
    if processes > 1:
        return "several processes can't exchange gradients there"

    def step(own: ModelWithLoss) -> Tensor:
        optimizers = config.optim.build(parameters_of(own.model, own.objective))
        loss = own.objective(own.model, batch.to(own.device))  # without the figures, whose type goes by the device
        loss.total.backward()
        scale_and_clip(list(own.parameters()), loss.count, config.train.grad_clip, Parallel(own))
        for optimizer in optimizers:
            optimizer.step()
        return torch.ones(1)  # the loss may differ: devices draw other random numbers

    with torch.random.fork_rng(devices=[]):
        tokenizer = config.data.tokenizer.outline()
        model = LM(_shallow(config.model), tokenizer)
        objective = config.objective.build(tokenizer, model.config)
        model.set_progress(0.0)
        objective.set_progress(0.0)
        with_loss, shard = ModelWithLoss(model, objective), Shard.of(TEXT, tokenizer)
        plan = BatchPlan(Corpus("", "", tokenizer, shard, shard, None), objective, TOKENS,
                         2 * config.train.grad_accum, config.train.grad_accum, 0,
                         from_tokens(model, few=True))
        batch = config.batches.build(plan).probe()
        if reason := why_not(step, with_loss, config, gpu):
            return reason
        for parameter in model.parameters():  # new tables are zeros, and new blocks change nothing
            nn.init.normal_(parameter, std=0.1)
        return why_not_read(model.eval(), tokenizer, gpu)


def _shallow(model: ModelConfig) -> ModelConfig:
    """The model with two layers in its trunk, if its parts can be had with so few."""
    try:
        return dataclasses.replace(model, layers=min(2, model.layers))
    except ValueError:
        return model
