"""What is decided by measuring at the start of a run, and kept for all of it.

A run that goes on reads what was decided, so that it computes exactly what the undisturbed run would have.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable

from stlm.config.decode import decode, encode
from stlm.config.files import read_json
from stlm.train import machine
from stlm.train.folder import write_whole

if typing.TYPE_CHECKING:
    from stlm.train.loop import Trainer

PAYS_FROM = 150.0  # seconds of training from which compiling is worth a try: it costs about 20 s on two cores


@dataclasses.dataclass(frozen=True)
class Decisions:
    """precision: fp32 or bf16. compile: whether the stacks are compiled. flops_per_byte: of training, forward and
    backward, on the first batch. peak_flops: a second, of a large matrix product in that precision on this machine.
    """

    precision: str
    compile: bool
    flops_per_byte: float
    peak_flops: float


def decide(trainer: Trainer) -> Decisions:
    """The decisions of a run: read from its folder, or measured on its first batch and written there."""
    path = trainer.folder.env
    if path.exists():
        decisions = decode(Decisions, read_json(path)["decided"], where=str(path))
        if decisions.compile:
            machine.compile_blocks(trainer.model)
            _work(trainer, decisions.precision)()  # compiling is no part of the first step
        return decisions
    decisions = _measure(trainer)
    record = {**machine.describe(trainer.device), "decided": encode(decisions)}
    write_whole(path, json.dumps(record, indent=1))
    return decisions


def _work(trainer: Trainer, precision: str) -> Callable[[], None]:
    """Forward and backward of the run's first batch."""
    batch = trainer.stream.batch(0).to(trainer.device)
    return machine.step_work(trainer.model, trainer.objective, batch, precision)


def _measure(trainer: Trainer) -> Decisions:
    wanted, model = trainer.config.train, trainer.model
    batch = trainer.stream.batch(0).to(trainer.device)
    flops_per_byte = machine.count_flops(model, trainer.objective, batch) / float(batch.weighted_bytes)
    precision: str = wanted.precision
    if precision == "auto":
        precision = machine.faster_precision(model, trainer.objective, batch)
    work, compiled = _work(trainer, precision), wanted.compile == "on"
    if compiled:
        machine.compile_blocks(model)
        work()
    elif wanted.compile == "auto":
        eager = machine.seconds(work, trainer.device, 2)
        steps = trainer.steps_of_run(flops_per_byte)
        length = (wanted.minutes or 0) * 60 if steps is None else steps * wanted.grad_accum * eager
        if length >= PAYS_FROM:
            compiled = _compiled_seconds(trainer, work) < eager
            if not compiled:
                machine.undo_compile(model)
    return Decisions(precision, compiled, flops_per_byte, machine.peak_flops(trainer.device, precision))


def _compiled_seconds(trainer: Trainer, work: Callable[[], None]) -> float:
    """How long ``work`` takes compiled; infinity where this machine cannot compile, for want of a C++ compiler say."""
    try:
        machine.compile_blocks(trainer.model)
        return machine.seconds(work, trainer.device, 2)
    except Exception:  # compilers fail in every way there is, and eager always works
        trainer.model.zero_grad(set_to_none=True)
        return math.inf
