"""From a description to a run that is ready to train: everything is built, loaded, timed and restored here."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from stlm.batches import BatchPlan, BatchSource
from stlm.config.decode import changed
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.model.init_from import init_from
from stlm.model.lm import LM
from stlm.model.room import from_tokens
from stlm.nn.weights import ParameterInfo, parameters_of
from stlm.objective import Objective
from stlm.optim import AUTO, OptimConfig
from stlm.train import best, compiling
from stlm.train.checkpoint import OPTIMIZER, Checkpoint
from stlm.train.decisions import decide, follow
from stlm.train.dropout import add_dropout
from stlm.train.folder import RunFolder, find_checkpoint
from stlm.train.length import Counters, steps_of_run
from stlm.train.loop import Callback, Trainer, new_model
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.parallel import possible_ways
from stlm.train.ranks import Ranks
from stlm.train.rates import find_rate, known_rate, with_rate
from stlm.train.run_config import RunConfig


def build_run(folder: RunFolder, config: RunConfig, corpus: Corpus, device: torch.device, callbacks: list[Callback],
              resume: Checkpoint | None = None, ranks: Ranks | None = None, sharded: str = "auto") -> Trainer:
    """A run at its first step, or at that of the checkpoint ``resume``. UserError if its parts or the checkpoint don't fit.
    Each process of a run builds its own. sharded: as in `spread`.
    """
    ranks, train, search = ranks or Ranks(), config.train, resume is None and config.optim.lr == AUTO
    if search:
        config = with_rate(config, config.optim.default_rate())
    elif resume is not None:
        config = known_rate(config, resume.config)
    if (rows := train.batch_size // train.grad_accum) < ranks.size:
        raise UserError(f"train.batch_size: a step has {rows} row{'s' * (rows > 1)} at a time, too few for {ranks.size} "
                        "processes; increase --train.batch-size, decrease --train.grad-accum, or start fewer processes")
    if ranks.size > 1 and config.batches.steps_grow and (train.by_clock or train.teraflops is not None):
        raise UserError("batches: processes could disagree on the size of a step that grows with the clock or with FLOPs; set "
                        "--train.steps, --train.megabytes or --train.epochs, or start one process")
    if train.averaging.by_epochs and config.batches.steps_grow and train.megabytes is None and train.epochs is None:
        raise UserError("train.averaging: where steps grow, the ends of epochs are known only if the length is in epochs or "
                        "megabytes; set --train.epochs or --train.megabytes")
    torch.manual_seed(config.seed)
    model = LM(config.model, corpus.tokenizer)
    objective = config.objective.build(corpus.tokenizer, config.model)
    add_dropout(model, train.dropout)
    if resume is None:
        _load_others(config, corpus, model, objective)
    with_loss = ModelWithLoss(model, objective).to(device)
    optimizers = config.optim.build(parameters_of(model, objective))
    ema = new_model(config, corpus, device) if train.averaging.averages else None
    if ema is not None:
        ema.load_state_dict(model.state_dict())
    counters = Counters() if resume is None else Counters.of(resume.counters, resume.config.train.batch_size)
    if resume is not None and resume.config.train.averaging != train.averaging:
        counters.averaged = 0  # another mean begins
    source = config.batches.build(BatchPlan(corpus, objective, train.seq_len, train.batch_size, train.grad_accum, config.seed,
                                            from_tokens(model, few=device.type != "cpu"), counters.step, counters.rows,
                                            ranks.rank, ranks.size))
    model.set_progress(0.0)
    objective.set_progress(0.0)
    ways = possible_ways(compiling.ways_on(device), with_loss, ranks, sharded)
    decisions, notes = ranks.from_main(lambda: decide(folder, config, with_loss, source, corpus, ways, counters.step))
    if not ranks.is_main:
        follow(decisions, with_loss, source, counters.step)
    if resume is not None:
        _restore(resume, config, corpus, model, objective, ema, optimizers, source)
    here = counters.step, corpus.contents
    if ranks.any(here != ranks.from_main(lambda: here)):
        raise UserError("the processes don't see the same run and the same text; several machines need one folder for both")
    if ranks.is_main:
        folder.rewind(-1 if resume is None else counters.step)
        if resume is None:
            best.forget(folder)
    if resume is None and decisions.rate_search is not None:  # a start that had found a rate, and saved no step
        counters = decisions.rate_search.counters(decisions.flops_per_byte)
    counters.flops_per_byte = counters.flops_per_byte or decisions.flops_per_byte
    total = steps_of_run(train, corpus.train, counters)
    trainer = Trainer(folder, config, corpus, device, with_loss, optimizers, source, decisions, total, counters, ema,
                      callbacks, ranks, sharded, notes, changed(resume.config, config) if resume else {})
    trainer.over = ranks.from_main(lambda: resume is not None and best.ended_early(folder, config, resume))
    if ranks.size > 1:
        trainer.warm_up()
    if search:
        trainer.notes = [*notes, find_rate(trainer)]
    return trainer


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
                            "same tokenizer, with the same settings")
        init_from(model, other.build_model())


def _restore(saved: Checkpoint, config: RunConfig, corpus: Corpus, model: LM, objective: Objective, ema: LM | None,
             optimizers: list[Optimizer], source: BatchSource) -> None:
    """Restore everything from the checkpoint."""
    state = saved.optimizer()
    if saved.counters.get("corpus") != corpus.contents:
        raise UserError(f"{config.data.source}: the text is not the one that {saved.folder} was trained on; "
                        "restore it, or start a new run with another --name")
    saved.load_model(model)
    saved.load_objective(objective)
    if ema is not None:
        saved.load_model(ema, averaged=True)
    try:
        _restore_optimizers(state["optimizers"], saved.config.optim, parameters_of(model, objective), optimizers)
        source.load_state_dict(state["batches"])
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{saved.folder / OPTIMIZER}: not the state of this run's optimizer "
                        f"({' '.join(str(error).split())[:200]}); continue from another checkpoint") from None


def _restore_optimizers(states: list[dict[str, Any]], optim: OptimConfig, parameters: list[ParameterInfo],
                        optimizers: list[Optimizer]) -> None:
    """Give each parameter's saved state to its optimizer. optim: the description under which the states were saved. By now the
    parameters may be in other groups, for example with another ``local_lr_mult``, and these keep their own settings.

    An error of some type is raised if the states aren't those of such parameters. That is seen by a step of other parameters of
    the same shapes.
    """
    owner = {parameter: optimizer for optimizer in optimizers for group in optimizer.param_groups
             for parameter in group["params"]}
    twins = [dataclasses.replace(info, parameter=nn.Parameter(torch.zeros_like(info.parameter), info.parameter.requires_grad))
             for info in parameters]
    original: dict[torch.Tensor, nn.Parameter] = {twin.parameter: info.parameter
                                                  for twin, info in zip(twins, parameters, strict=True)}
    for optimizer, state in zip(optim.build(twins), states, strict=True):
        for group in optimizer.param_groups:
            for twin in group["params"]:
                twin.grad = torch.zeros_like(twin)
        optimizer.step()
        expected = dict(optimizer.state)
        optimizer.load_state_dict(state)
        for twin, values in optimizer.state.items():
            _check_state(values, expected[twin])
            # the names of a new state are interned; otherwise files of the same state would differ
            owner[original[twin]].state[original[twin]] = {sys.intern(name): value for name, value in values.items()}


def _check_state(values: dict[str, Any], expected: dict[str, Any]) -> None:
    """ValueError if the state of a parameter lacks a tensor, or has one of another shape or with numbers that aren't finite."""
    for name, tensor in expected.items():
        if isinstance(tensor, torch.Tensor) and (values[name].shape != tensor.shape or not values[name].isfinite().all()):
            raise ValueError(f"{name} has another shape, or numbers that are not finite")
