"""Decisions that are measured at the start of a run and kept for the whole run.

A continued run reads the decisions from its folder, so it computes exactly what an uninterrupted run computes. Only the peak of
the machine is measured at every start, because a run may go on elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stlm.batches import BatchSource
from stlm.config.decode import encode
from stlm.config.files import decode_record, read_table
from stlm.config.writing import write_json
from stlm.data.batch import Batch
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.train import machine
from stlm.train.folder import RunFolder
from stlm.train.length import Counters, steps_of_run
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.run_config import RunConfig, TrainConfig

PAYS_FROM = 150.0  # shortest training, in seconds, for which compiling is tried: it takes about 20 s on two cores
PRECISIONS = ("fp32", "bf16")


@dataclasses.dataclass(frozen=True)
class Decisions:
    """precision: fp32 or bf16. compile: whether the stacks are compiled. flops_per_byte: FLOPs of forward and backward per byte
    of the first batch. peak_flops: FLOPs per second of a large matrix product in that precision on this machine.
    """

    precision: str
    compile: bool
    flops_per_byte: float
    peak_flops: float

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision = {self.precision!r}: it has to be one of {', '.join(PRECISIONS)}")
        if not (0 <= self.flops_per_byte < math.inf and 0 < self.peak_flops < math.inf):
            raise ValueError("flops_per_byte and peak_flops have to be above 0")


def decide(folder: RunFolder, config: RunConfig, with_loss: ModelWithLoss, source: BatchSource, corpus: Corpus,
           step: int = 0) -> tuple[Decisions, list[str]]:
    """The decisions of a run that is at ``step``, and what the user should know about them. They are read from the run's folder
    if it has them, and measured on a batch otherwise.
    """
    batch = source.probe(step).to(with_loss.device)
    if not folder.env.exists():
        return _measure(config.train, with_loss, batch, corpus), []
    return _kept(folder.env, config.train, with_loss, batch)


def _kept(path: Path, wanted: TrainConfig, with_loss: ModelWithLoss, batch: Batch) -> tuple[Decisions, list[str]]:
    """The decisions on record, as far as this machine can carry them out and the user doesn't wish otherwise."""
    try:
        kept = decode_record(Decisions, read_table(path).get("decided"), f"{path}.decided")
    except UserError as error:
        raise UserError(f"{error}; delete {path.name} to measure again") from None
    precision = kept.precision if wanted.precision == "auto" else wanted.precision
    compiled = kept.compile if wanted.compile == "auto" else wanted.compile == "on"
    notes = []
    if compiled:
        try:
            _compile(with_loss, machine.step_work(with_loss, batch, precision))
        except UserError as error:
            if wanted.compile == "on":
                raise
            compiled = False
            notes.append(f"{error}: the rest of this run isn't compiled")
    return Decisions(precision, compiled, kept.flops_per_byte, machine.peak_flops(with_loss.device, precision)), notes


def follow(decisions: Decisions, with_loss: ModelWithLoss, source: BatchSource, step: int) -> None:
    """Get ready as the main process has decided. Where this process can't compile, it computes the same without."""
    if decisions.compile:
        with contextlib.suppress(UserError):
            _compile(with_loss, machine.step_work(with_loss, source.probe(step).to(with_loss.device), decisions.precision))


def record_start(folder: RunFolder, device: torch.device, decisions: Decisions, step: int, changes: dict[str, Any],
                 processes: int = 1) -> None:
    """Write to ``env.json`` on which machine the run goes on from ``step``, with how many processes, and which fields of the
    run have changed there.

    The file describes the first machine, and lists all under ``starts``. A start that is like the one before isn't listed. A
    start from which no step was saved is replaced by the next.
    """
    here = {**machine.describe(device), "processes": processes, "precision": decisions.precision, "compile": decisions.compile}
    record = read_table(folder.env) if folder.env.exists() else {
        **machine.describe(device), "processes": processes, "decided": encode(decisions)}
    first = {name: value for name, value in {**record, **record["decided"]}.items() if name in here}
    starts = [start for start in _starts(record) or [{"step": 0, **first}] if start["step"] < step]
    if changes or not starts or any(starts[-1].get(name) != value for name, value in here.items()):
        starts.append({"step": step, **here, "peak_flops": decisions.peak_flops, **({"changes": changes} if changes else {})})
    if record.get("starts") != starts:
        write_json(folder.env, {**record, "starts": starts})


def _starts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The list of starts in a record; empty if it is none of ours."""
    found = record.get("starts")
    starts = found if isinstance(found, list) else []
    return starts if all(isinstance(start, dict) and type(start.get("step")) is int for start in starts) else []


def _measure(wanted: TrainConfig, with_loss: ModelWithLoss, batch: Batch, corpus: Corpus) -> Decisions:
    flops_of_batch = machine.count_flops(with_loss, batch)
    flops_per_byte = flops_of_batch / float(batch.total_bytes)
    precision: str = wanted.precision
    if precision == "auto":
        precision = machine.faster_precision(with_loss, batch)
    work, compiled = machine.step_work(with_loss, batch, precision), wanted.compile == "on"
    if compiled:
        _compile(with_loss, work)
    elif wanted.compile == "auto":
        eager = machine.seconds(work, with_loss.device, 2)
        steps = steps_of_run(wanted, corpus.train, Counters())
        if steps is None:
            length = 60 * (wanted.minutes or 0) + 1e12 * (wanted.teraflops or 0) / max(1.0, flops_of_batch) * eager
        else:
            length = steps * wanted.grad_accum * eager
        if length >= PAYS_FROM:
            compiled = _compiled_seconds(with_loss, work) < eager
            if not compiled:
                machine.undo_compile(with_loss.model)
    return Decisions(precision, compiled, flops_per_byte, machine.peak_flops(with_loss.device, precision))


def _compile(with_loss: ModelWithLoss, work: Callable[[], None]) -> None:
    """Compile now, not in the first step. UserError if this machine can't; then the model is as before."""
    try:
        machine.compile_blocks(with_loss.model)
        work()
    except Exception as error:  # compilers raise many types of errors
        machine.undo_compile(with_loss.model)
        with_loss.zero_grad(set_to_none=True)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"train.compile: this machine can't compile ({reason})") from None


def _compiled_seconds(with_loss: ModelWithLoss, work: Callable[[], None]) -> float:
    """Seconds that ``work`` takes when compiled; infinity if this machine can't compile, for example without a C++ compiler."""
    try:
        machine.compile_blocks(with_loss.model)
        return machine.seconds(work, with_loss.device, 2)
    except Exception:  # compilers raise many types of errors, and a run without compiling always works
        with_loss.zero_grad(set_to_none=True)
        return math.inf
