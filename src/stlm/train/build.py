"""From a description to a run that is ready to train: everything is built, loaded, timed and restored here."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from stlm.batches import BatchPlan, BatchSource
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.model.init_from import init_from
from stlm.model.lm import LM, ends_of_bytes
from stlm.nn.weights import parameters_of
from stlm.objective import Objective
from stlm.train.checkpoint import Checkpoint
from stlm.train.decisions import decide, steps_of_run
from stlm.train.folder import RunFolder, find_checkpoint
from stlm.train.loop import Callback, Counters, Trainer, copy_of
from stlm.train.ranks import Ranks
from stlm.train.run_config import RunConfig


def build_run(folder: RunFolder, config: RunConfig, corpus: Corpus, device: torch.device, callbacks: list[Callback],
              resume: Checkpoint | None = None, ranks: Ranks | None = None) -> Trainer:
    """A run at its first step, or at that of the checkpoint ``resume``. UserError if its parts or the checkpoint don't fit."""
    ranks, train = ranks or Ranks(), config.train
    torch.manual_seed(config.seed)
    model = LM(config.model, corpus.tokenizer)
    objective = config.objective.build(corpus.tokenizer, config.model)
    if resume is None:
        _load_others(config, corpus, model, objective)
    model.to(device)
    objective.to(device)
    optimizers = config.optim.build(parameters_of(model, objective))
    ema = copy_of(model, config, corpus) if train.ema else None
    source = config.batches.build(BatchPlan(corpus, objective, train.seq_len, train.batch_size, train.grad_accum, config.seed,
                                            ends_of_bytes(model.patching, corpus.tokenizer.bos)))
    model.set_progress(0.0)
    objective.set_progress(0.0)
    decisions = ranks.broadcast(decide(folder, config, model, objective, source, corpus, device))
    torch.manual_seed(config.seed)  # again, because the measurements have drawn random numbers
    counters = Counters(flops_per_byte=decisions.flops_per_byte)
    if resume is not None:
        counters = _restore(resume, config, corpus, model, objective, ema, optimizers, source)
    folder.rewind(counters.step)
    total = None if train.teraflops else steps_of_run(train, corpus.train, counters.flops_per_byte)
    return Trainer(folder, config, corpus, device, model, objective, optimizers, source, decisions, total, counters, ema,
                   callbacks, ranks)


def _load_others(config: RunConfig, corpus: Corpus, model: LM, objective: Objective) -> None:
    """Load weights of other runs: those that a new run starts from, and those of frozen models inside it."""
    def load(run: str, part: nn.Module) -> None:
        find_checkpoint(run).load_model(part, averaged=True)

    model.load_frozen(load)
    objective.load_frozen(load)
    if config.train.init_from is not None:
        other = find_checkpoint(config.train.init_from)
        if other.tokenizer.token_bytes != corpus.tokenizer.token_bytes:
            raise UserError(f"train.init_from: the tokens of {config.train.init_from} aren't those of this text; choose the "
                            "same tokenizer, and the same text where the tokenizer is learned from it")
        init_from(model, other.build_model())


def _restore(saved: Checkpoint, config: RunConfig, corpus: Corpus, model: LM, objective: Objective, ema: LM | None,
             optimizers: list[Optimizer], source: BatchSource) -> Counters:
    """Restore everything from the checkpoint. Returns what the run has used so far."""
    if saved.counters["corpus"] != corpus.contents:
        raise UserError(f"{config.data.source}: the text is not the one that {saved.folder} was trained on; "
                        "restore it, or start a new run with another --name")
    saved.load_model(model)
    saved.load_objective(objective)
    if ema is not None:
        saved.load_model(ema, averaged=True)
    state = saved.optimizer()
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        chosen = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(kept)
        for group, settings in zip(optimizer.param_groups, chosen, strict=True):
            group.update(settings)  # a continued run may have another learning rate
    source.load_state_dict(state["batches"])
    torch.set_rng_state(state["rng"])
    return Counters(**{name: saved.counters[name] for name in ("step", "spent", "n_bytes", "flops", "flops_per_byte")})
