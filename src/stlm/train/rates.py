"""The search for a learning rate at the start of a run, ``--optim.lr auto``.

Five rates are tried, from a quarter of the optimizer's default to four times it. Each trial is the run in small: the same
start, the same first batches, `SHARE` of the run's steps but at least `LEAST`, with warm-up and cooldown of its own. The
cooldown matters: without it, rates that are too low look best, because a high rate pays only once it has fallen (short-horizon
bias: Wu et al. 2018, arXiv 1803.02021). The rate with the lowest loss over the last quarter of its trial wins. Where the rates
beside it were tried too, the lowest point of the parabola through the three is taken. A trial that diverges never wins.

A longer run wants a lower rate: in large models the best one falls with the length to the power of about 0.3 (Bjorck et al.
2024, arXiv 2409.19913). So what was found is multiplied by (steps of a trial / steps of the run) to the power `HORIZON`. That
is 0.2 here, by few measurements: for 600 steps of `demo` the best rate of AdamW is 0.54 of what trials of 24 steps say, which
is the power 0.19; for 400 steps it is 0.20, with SOAP too; Muon's loss hardly depends on its rate. The optimum is flat, twice
the best rate costs 0.4 % of the loss, so a better power would gain little.

The search is part of the run: its seconds, bytes and FLOPs count, so it leaves less for training in a run whose length is in
one of these. Other rates of an optimizer, such as ``adamw_lr`` of `muon`, stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from stlm.errors import UserError
from stlm.nn.sharded import locals_of
from stlm.nn.weights import parameters_of
from stlm.optim import AUTO, OptimConfig
from stlm.train.decisions import RateSearch
from stlm.train.length import Counters, steps_of_run
from stlm.train.loop import Diverged, Trainer
from stlm.train.run_config import LENGTHS, RunConfig

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the optimizer's default
SHARE, LEAST = 0.02, 24  # of a run's steps, and steps
HORIZON = 0.2


def known_rate(config: RunConfig, before: RunConfig) -> RunConfig:
    """The description of a run that goes on, with the rate that it has found if ``config`` says auto. before: the run's own."""
    return with_rate(config, before.optim.rate) if config.optim.lr == AUTO and before.optim.lr != AUTO else config


def with_rate(config: RunConfig, rate: float) -> RunConfig:
    """The run with this learning rate."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rate))


def find_rate(trainer: Trainer) -> str:
    """Find the learning rate of a run at its first step, and begin the run at that rate. Returns what the user should know.
    UserError if the run is too short, or if training diverges at all rates.
    """
    began, config, start = time.perf_counter(), trainer.config, _Start(trainer)
    steps = trainer.total
    if steps is None or config.train.max_minutes is not None:
        seen = _steps_by_a_trial(trainer)
        steps = trainer.ranks.from_main(lambda: math.ceil(seen))
        start.restore()
    length = max(LEAST, math.ceil(SHARE * steps))
    if len(FACTORS) * length > steps / 2:
        raise UserError(f"optim.lr = auto: the run is too short, for it has {steps:,} steps, and trying rates takes "
                        f"{len(FACTORS) * length:,}; leave --optim.lr out, or give a rate")
    used, losses = Counters(), list[float | None]()
    rates = [config.optim.default_rate() * factor for factor in FACTORS]
    for rate in rates:
        losses.append(_loss(trainer, with_rate(config, rate), length, steps))
        used.n_bytes, used.flops = used.n_bytes + trainer.counters.n_bytes, used.flops + trainer.counters.flops
        start.restore()
    taken = best_rate(rates, losses, (length / steps) ** HORIZON)
    if taken is None:
        raise UserError(f"optim.lr = auto: training diverges at all rates from {rates[0]:g} to {rates[-1]:g}; give a lower "
                        f"one, such as --optim.lr {rates[0] / 4:g}, or a longer warm-up (--train.warmup)")
    seconds = trainer.ranks.from_main(lambda: time.perf_counter() - began)
    found = RateSearch(tuple(rates), tuple(losses), length, taken, seconds, used.n_bytes, used.flops)
    _begin(trainer, with_rate(config, taken), found)
    return found.in_words()


def best_rate(rates: Sequence[float], losses: Sequence[float | None], horizon: float) -> float | None:
    """The rate to take, with three digits; None if all have diverged. losses: None where training has diverged."""
    finite = {number: loss for number, loss in enumerate(losses) if loss is not None}
    if not finite:
        return None
    best = min(finite, key=finite.__getitem__)
    rate = rates[best]
    if best - 1 in finite and best + 1 in finite:
        below, here, above = (finite[best + n] for n in (-1, 0, 1))
        curvature = below - 2 * here + above
        if curvature > 0:
            rate *= (rates[best + 1] / rates[best]) ** ((below - above) / 2 / curvature)
    return float(f"{rate * horizon:.3g}")


class _Start:
    """The start of a run, to which it can go back."""

    def __init__(self, trainer: Trainer) -> None:
        modules = [trainer.with_loss, *([] if trainer.ema is None else [trainer.ema])]
        self._trainer = trainer
        self._tensors = [tensor for module in modules
                         for tensor in locals_of(itertools.chain(module.parameters(), module.buffers()))]
        self._copies = [tensor.clone() for tensor in self._tensors]
        self._source = copy.deepcopy(trainer.source.state_dict())

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, kept in zip(self._tensors, self._copies, strict=True):
            tensor.copy_(kept)
        self._trainer.with_loss.zero_grad(set_to_none=True)
        for optimizer in self._trainer.optimizers:
            optimizer.state.clear()
        self._trainer.source.load_state_dict(copy.deepcopy(self._source))


def _begin(trainer: Trainer, config: RunConfig, found: RateSearch) -> None:
    """Begin the run at the rate that was found."""
    trainer.decisions = dataclasses.replace(trainer.decisions, rate_search=found)
    counters = found.counters(trainer.counters.flops_per_byte)
    trainer.restart(config, steps_of_run(config.train, trainer.corpus.train, counters), counters)
    _set_rates(trainer, config.optim)


def _set_rates(trainer: Trainer, optim: OptimConfig) -> None:
    """Give the groups of the optimizers the peak rates that they would have if they were built anew."""
    parameters = parameters_of(trainer.model, trainer.objective)
    for optimizer, built in zip(trainer.optimizers, optim.build(parameters), strict=True):
        for group, other in zip(optimizer.param_groups, built.param_groups, strict=True):
            group["peak_lr"] = other["peak_lr"]


def _loss(trainer: Trainer, config: RunConfig, length: int, steps: int) -> float | None:
    """The loss over the last quarter of a trial of so many steps; None if it diverges. steps: those of the whole run."""
    _restart(trainer, config, length, max(round(config.train.warmup * length / steps), min(config.train.warmup, length // 4)))
    try:
        for number in range(length):
            if number == length - length // 4:
                trainer.figures()  # what was before doesn't count
            trainer.advance()
    except Diverged:
        return None
    loss = trainer.figures().get("train/loss", math.nan)
    return loss if math.isfinite(loss) else None


def _restart(trainer: Trainer, config: RunConfig, steps: int, warmup: int) -> None:
    """Make a run of so many steps of it."""
    changes: dict[str, Any] = {**dict.fromkeys(LENGTHS), "max_minutes": None, "steps": steps, "warmup": warmup}
    train = dataclasses.replace(config.train, **changes)
    trainer.restart(dataclasses.replace(config, train=train), steps, Counters(flops_per_byte=trainer.counters.flops_per_byte))
    _set_rates(trainer, config.optim)


def _steps_by_a_trial(trainer: Trainer) -> float:
    """About how many steps a run has whose length, or whose limit, is in minutes or FLOPs, by its second step."""
    train, total = trainer.config.train, trainer.total
    _restart(trainer, with_rate(trainer.config, trainer.config.optim.default_rate() * FACTORS[0]), 2, 1)
    trainer.advance()
    before = dataclasses.replace(trainer.counters)
    trainer.advance()
    minutes, flops = (trainer.counters.spent - before.spent) / 60, max(1.0, trainer.counters.flops - before.flops)
    limits = ((total, 1.0), (train.minutes, minutes), (train.max_minutes, minutes), (train.teraflops, flops / 1e12))
    return min(limit / of_a_step for limit, of_a_step in limits if limit is not None)
