"""Decisions that are measured at the start of a run and kept for the whole run.

A continued run reads the decisions from its folder, so it computes exactly what an uninterrupted run computes. Only the peak of
the machine is measured at every start, because a run may go on elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from stlm.batches import BatchSource
from stlm.config.decode import non_default
from stlm.config.files import decode_record, read_table
from stlm.config.writing import write_json
from stlm.data.batch import Batch
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.train import compiling, machine
from stlm.train.folder import RunFolder
from stlm.train.length import Counters, steps_of_run
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.run_config import RunConfig, TrainConfig

# The shortest training, in seconds without compiling, for which a way to compile is tried. Blocks take about 20 s on two cores,
# a whole step about a minute for each size of a batch.
PAYS_FROM = {"blocks": 150.0, "whole": 600.0, "graphs": 600.0}
PRECISIONS = ("fp32", "bf16")


@dataclasses.dataclass(frozen=True)
class RateSearch:
    """How a learning rate was found. rates: those that were tried; losses: at the end of each trial, None if it has diverged;
    steps: of each trial; taken: the rate of the run. seconds, n_bytes, flops: what the search has used.
    """

    rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    steps: int
    taken: float
    seconds: float
    n_bytes: int
    flops: float

    def counters(self, flops_per_byte: float) -> Counters:
        """What a run has used before its first step."""
        return Counters(spent=self.seconds, n_bytes=self.n_bytes, flops=self.flops, flops_per_byte=flops_per_byte,
                        searched=self.n_bytes, search_seconds=self.seconds, search_flops=self.flops)

    def in_words(self) -> str:
        """The trials in one line."""
        tried = ", ".join(f"{rate:g}: {'diverged' if loss is None else f'{loss:.3f}'}"
                          for rate, loss in zip(self.rates, self.losses, strict=True))
        return (f"learning rate {self.taken:g}, found in {self.seconds:.0f} s, which count; losses of {len(self.rates)} trials "
                f"of {self.steps} steps: {tried}")


@dataclasses.dataclass(frozen=True)
class Decisions:
    """precision: fp32 or bf16. compile: how a step is compiled (`stlm.train.compiling`), or off. flops_per_byte: FLOPs of
    forward and backward per byte of the first batch. peak_flops: FLOPs per second of a large matrix product in that precision
    on this machine. rate_search: how the learning rate was found, if that was asked for.
    """

    precision: str
    compile: str
    flops_per_byte: float
    peak_flops: float
    rate_search: RateSearch | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision = {self.precision!r}: it has to be one of {', '.join(PRECISIONS)}")
        if self.compile not in (*compiling.WAYS, compiling.OFF):
            raise ValueError(f"compile = {self.compile!r}: it has to be one of {', '.join((*compiling.WAYS, compiling.OFF))}")
        if not (0 <= self.flops_per_byte < math.inf and 0 < self.peak_flops < math.inf):
            raise ValueError("flops_per_byte and peak_flops have to be above 0")


def decide(folder: RunFolder, config: RunConfig, with_loss: ModelWithLoss, source: BatchSource, corpus: Corpus,
           ways: Sequence[str], step: int = 0) -> tuple[Decisions, list[str]]:
    """The decisions of a run that is at ``step``, and what the user should know about them. They are read from the run's folder
    if it has them, and measured on a batch otherwise. ways: those in which this run can be compiled.
    """
    batch = source.probe(step).to(with_loss.device)
    if not folder.env.exists():
        return _measure(config.train, with_loss, batch, corpus, ways), []
    return _kept(folder.env, config.train, with_loss, batch, ways)


def _kept(path: Path, wanted: TrainConfig, with_loss: ModelWithLoss, batch: Batch, ways: Sequence[str]
          ) -> tuple[Decisions, list[str]]:
    """The decisions on record, as far as this machine can carry them out and the user doesn't wish otherwise."""
    try:
        decided = read_table(path).get("decided")
        if isinstance(decided, dict) and "compile" in decided:
            decided = {**decided, "compile": compiling.named(decided["compile"])}
        kept = decode_record(Decisions, decided, f"{path}.decided")
    except UserError as error:
        raise UserError(f"{error}; delete {path.name} to measure again") from None
    precision = kept.precision if wanted.precision == "auto" else wanted.precision
    way, notes = kept.compile if wanted.compile == "auto" else compiling.OFF, []
    if wanted.compile == "on" or way != compiling.OFF:
        possible = ways[ways.index(kept.compile):] if kept.compile in ways else ways
        try:
            way = _compile(with_loss, machine.step_work(with_loss, batch, precision), possible)
        except UserError as error:
            if wanted.compile == "on":
                raise
            way = compiling.OFF
            notes.append(f"{error}: the rest of this run isn't compiled")
    peak = machine.peak_flops(with_loss.device, precision)
    return dataclasses.replace(kept, precision=precision, compile=way, peak_flops=peak), notes


def has_searched(folder: RunFolder) -> bool:
    """Whether the learning rate of a run was found at its start."""
    decided = read_table(folder.env).get("decided") if folder.env.exists() else None
    return isinstance(decided, dict) and decided.get("rate_search") is not None


def follow(decisions: Decisions, with_loss: ModelWithLoss, source: BatchSource, step: int) -> None:
    """Get ready as the main process has decided. Where this process can't compile, it computes the same without."""
    if decisions.compile != compiling.OFF:
        work = machine.step_work(with_loss, source.probe(step).to(with_loss.device), decisions.precision)
        with contextlib.suppress(UserError):
            _compile(with_loss, work, [decisions.compile])


def record_start(folder: RunFolder, device: torch.device, decisions: Decisions, step: int, changes: dict[str, Any],
                 processes: int = 1) -> None:
    """Write to ``env.json`` on which machine the run goes on from ``step``, with how many processes, and which fields of the
    run have changed there.

    The file describes the first machine, and lists all under ``starts``. A start that is like the one before isn't listed. A
    start from which no step was saved is replaced by the next.
    """
    here = {**machine.describe(device), "processes": processes, "precision": decisions.precision, "compile": decisions.compile}
    record = read_table(folder.env) if folder.env.exists() else {
        **machine.describe(device), "processes": processes, "decided": non_default(decisions)}
    first = {name: value for name, value in {"processes": 1, **record, **record["decided"]}.items() if name in here}
    starts = [start for start in _starts(record) or [{"step": 0, **first}] if start["step"] < step]
    if changes or not starts or any(compiling.named(starts[-1].get(name)) != value for name, value in here.items()):
        starts.append({"step": step, **here, "peak_flops": decisions.peak_flops, **({"changes": changes} if changes else {})})
    if record.get("starts") != starts:
        write_json(folder.env, {**record, "starts": starts})


def _starts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The list of starts in a record; empty if it is none of ours."""
    found = record.get("starts")
    starts = found if isinstance(found, list) else []
    return starts if all(isinstance(start, dict) and type(start.get("step")) is int for start in starts) else []


def _measure(wanted: TrainConfig, with_loss: ModelWithLoss, batch: Batch, corpus: Corpus, ways: Sequence[str]) -> Decisions:
    flops_of_batch = machine.count_flops(with_loss, batch)
    flops_per_byte = flops_of_batch / float(batch.total_bytes)
    precision: str = wanted.precision
    if precision == "auto":
        precision = machine.faster_precision(with_loss, batch)
    work, way = machine.step_work(with_loss, batch, precision), compiling.OFF
    if wanted.compile == "on":
        way = _compile(with_loss, work, ways)
    elif wanted.compile == "auto":
        eager = machine.seconds(work, with_loss.device, 2)
        steps = steps_of_run(wanted, corpus.train, Counters())
        if steps is None:
            length = 60 * (wanted.minutes or 0) + 1e12 * (wanted.teraflops or 0) / max(1.0, flops_of_batch) * eager
        else:
            length = min(steps * wanted.grad_accum * eager, 60 * (wanted.max_minutes or math.inf))
        way = _fastest(with_loss, work, [way for way in ways if length >= PAYS_FROM[way]], eager)
    return Decisions(precision, way, flops_per_byte, machine.peak_flops(with_loss.device, precision))


def _compile(with_loss: ModelWithLoss, work: Callable[[], None], ways: Sequence[str]) -> str:
    """Compile now, not in the first step, in the first of these ways that works, and return it. UserError if none does; then
    the model is as before.
    """
    for way in ways:
        try:
            compiling.compile_step(with_loss, way)
            work()
            return way
        except torch.OutOfMemoryError:
            _as_before(with_loss)
            raise
        except Exception as error:  # compilers raise many types of errors
            _as_before(with_loss)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(f"train.compile: this machine can't compile ({reason})")


def _fastest(with_loss: ModelWithLoss, work: Callable[[], None], ways: Sequence[str], eager: float) -> str:
    """The fastest of these ways, in which the step is then compiled; off if none takes less than ``eager`` seconds. A way may
    not work: there may be no compiler, or the model may draw on the host what it computes.
    """
    took = {compiling.OFF: eager}
    for way in ways:
        with contextlib.suppress(Exception):  # a run without compiling always works
            compiling.compile_step(with_loss, way)
            took[way] = machine.seconds(work, with_loss.device, 2)
        _as_before(with_loss)
    best = min(took, key=took.__getitem__)
    compiling.compile_step(with_loss, best)
    return best


def _as_before(with_loss: ModelWithLoss) -> None:
    """Leave nothing of a try to compile."""
    compiling.undo(with_loss)
    with_loss.zero_grad(set_to_none=True)
