"""How long a run is, and how much of it is done."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from stlm.data.shards import Shard
from stlm.train.run_config import TrainConfig


@dataclasses.dataclass
class Counters:
    """What a run has used so far.

    step: finished steps. rows: rows read in them. spent: seconds in steps. n_bytes: bytes of text trained on; text that is read
    again counts again. flops: floating-point operations for these bytes. flops_per_byte: its present value. averaged:
    the number of steps whose weights are in the mean that is used; 0 if the present weights are used. searched, search_seconds,
    search_flops: what of all that was used to find the learning rate (`stlm.train.rates`), and belongs to no step.
    """

    step: int = 0
    rows: int = 0
    spent: float = 0.0
    n_bytes: int = 0
    flops: float = 0.0
    flops_per_byte: float = 0.0
    averaged: int = 0
    searched: int = 0
    search_seconds: float = 0.0
    search_flops: float = 0.0

    @classmethod
    def of(cls, record: dict[str, Any], batch_size: int) -> Counters:
        """The counters in a checkpoint's record. batch_size: its rows in a step. Older records don't count rows; then all steps
        had that size.
        """
        found = {field.name: value for field in dataclasses.fields(cls) if (value := record.get(field.name)) is not None}
        return cls(**{"rows": record["step"] * batch_size, **found})

    def epochs(self, shard: Shard) -> float:
        """How often the steps have read the text ``shard``."""
        return (self.n_bytes - self.searched) / shard.n_bytes


def goal_of(train: TrainConfig, shard: Shard, searched: int = 0) -> int | None:
    """Where a run ends: its number of steps, or of rows if its length is in megabytes or epochs; None if it is in minutes or
    FLOPs. searched: bytes that were read to find the learning rate.
    """
    if train.megabytes is None and train.epochs is None:
        return train.steps
    n_bytes = 1e6 * train.megabytes if train.megabytes is not None else (train.epochs or 0.0) * shard.n_bytes
    n_rows = (n_bytes - searched) / (train.seq_len * shard.n_bytes / (len(shard.tokens) + shard.n_documents))
    return max(1, math.floor(n_rows / train.batch_size + 0.5)) * train.batch_size


def steps_of_run(train: TrainConfig, shard: Shard, used: Counters) -> int | None:
    """The number of steps of a run; None if its length is in minutes or FLOPs. used: what it has used so far. Steps may have
    differed in size; those that follow are taken for full ones.
    """
    goal = goal_of(train, shard, used.searched)
    if goal is None or train.steps is not None:
        return goal
    return used.step + max(0, math.floor((goal - used.rows) / train.batch_size + 0.5))


def progress_of(train: TrainConfig, counters: Counters, goal: int | None) -> float:
    """The share of a run that is done, 0 to 1. goal: where it ends, as `goal_of` finds it. Where the time is limited too, it is
    the larger one of two shares.
    """
    share = _share_of_length(train, counters, goal)
    if train.max_minutes is None:
        return share
    return max(share, _used(counters.spent, 60 * train.max_minutes, counters.search_seconds))


def _share_of_length(train: TrainConfig, counters: Counters, goal: int | None) -> float:
    if goal is not None and train.steps is None:  # by rows, because steps may differ in size
        return min(1.0, counters.rows / goal) if goal - counters.rows >= train.batch_size / 2 else 1.0
    if train.teraflops is not None:
        return _used(counters.flops, 1e12 * train.teraflops, counters.search_flops)
    if train.minutes is not None:
        return _used(counters.spent, 60 * train.minutes, counters.search_seconds)
    return min(1.0, counters.step / (goal or 1))


def _used(spent: float, length: float, before: float) -> float:
    """The share of a length that is used since the first step, before which ``before`` was used."""
    return (spent - before) / (length - before) if spent < length else 1.0
