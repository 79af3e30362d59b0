"""Decisions that are measured at the start of a run and kept for the whole run.

A continued run reads the decisions from its folder, so it computes exactly what an uninterrupted run computes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from stlm.batches import BatchSource
from stlm.config.decode import decode, encode
from stlm.config.files import read_json
from stlm.config.writing import write_json
from stlm.data.batch import Batch
from stlm.data.shards import Corpus, Shard
from stlm.model.lm import LM
from stlm.objective import Objective
from stlm.train import machine
from stlm.train.folder import RunFolder
from stlm.train.run_config import RunConfig, TrainConfig

PAYS_FROM = 150.0  # shortest training, in seconds, for which compiling is tried: it takes about 20 s on two cores


@dataclasses.dataclass(frozen=True)
class Decisions:
    """precision: fp32 or bf16. compile: whether the stacks are compiled. flops_per_byte: FLOPs of forward and backward per byte
    of the first batch. peak_flops: FLOPs per second of a large matrix product in that precision on this machine.
    """

    precision: str
    compile: bool
    flops_per_byte: float
    peak_flops: float


def decide(folder: RunFolder, config: RunConfig, model: LM, objective: Objective, source: BatchSource, corpus: Corpus,
           device: torch.device) -> Decisions:
    """The decisions of a run. They are read from its folder, or measured on its first batch and written there."""
    path, batch = folder.env, source.probe().to(device)
    if path.exists():
        decisions = decode(Decisions, read_json(path)["decided"], where=str(path))
        if decisions.compile:
            machine.compile_blocks(model)
            machine.step_work(model, objective, batch, decisions.precision)()  # compile now, not in the first step
        return decisions
    decisions = _measure(config.train, model, objective, batch, corpus)
    write_json(path, {**machine.describe(device), "decided": encode(decisions)})
    return decisions


def steps_of_run(train: TrainConfig, shard: Shard, flops_per_byte: float) -> int | None:
    """The number of steps of a run, given FLOPs per byte; None if the run's length is in minutes."""
    bytes_per_step = train.batch_size * train.seq_len * shard.n_bytes / (len(shard.tokens) + shard.n_documents)
    if train.megabytes is not None:
        return max(1, round(1e6 * train.megabytes / bytes_per_step))
    if train.teraflops is not None:
        return max(1, round(1e12 * train.teraflops / flops_per_byte / bytes_per_step))
    return train.steps


def _measure(wanted: TrainConfig, model: LM, objective: Objective, batch: Batch, corpus: Corpus) -> Decisions:
    flops_per_byte = machine.count_flops(model, objective, batch) / float(batch.total_bytes)
    precision: str = wanted.precision
    if precision == "auto":
        precision = machine.faster_precision(model, objective, batch)
    work, compiled = machine.step_work(model, objective, batch, precision), wanted.compile == "on"
    if compiled:
        machine.compile_blocks(model)
        work()
    elif wanted.compile == "auto":
        eager = machine.seconds(work, model.device, 2)
        steps = steps_of_run(wanted, corpus.train, flops_per_byte)
        length = (wanted.minutes or 0) * 60 if steps is None else steps * wanted.grad_accum * eager
        if length >= PAYS_FROM:
            compiled = _compiled_seconds(model, work) < eager
            if not compiled:
                machine.undo_compile(model)
    return Decisions(precision, compiled, flops_per_byte, machine.peak_flops(model.device, precision))


def _compiled_seconds(model: LM, work: Callable[[], None]) -> float:
    """Seconds that ``work`` takes when compiled; infinity if this machine can't compile, for example without a C++ compiler."""
    try:
        machine.compile_blocks(model)
        return machine.seconds(work, model.device, 2)
    except Exception:  # compilers raise many types of errors, and a run without compiling always works
        model.zero_grad(set_to_none=True)
        return math.inf
