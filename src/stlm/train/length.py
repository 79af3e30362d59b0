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
    again counts again. flops: floating-point operations for these bytes. flops_per_byte: its present value. searched: those of
    the bytes that were read to find the learning rate (`stlm.train.rates`), and that belong to no step.
    """

    step: int = 0
    rows: int = 0
    spent: float = 0.0
    n_bytes: int = 0
    flops: float = 0.0
    flops_per_byte: float = 0.0
    searched: int = 0

    @classmethod
    def of(cls, record: dict[str, Any], batch_size: int) -> Counters:
        """The counters in a checkpoint's record. batch_size: its rows in a step. Older records don't count rows; then all steps
        had that size.
        """
        found = {field.name: value for field in dataclasses.fields(cls) if (value := record.get(field.name)) is not None}
        return cls(**{"rows": record["step"] * batch_size, **found})


def steps_of_run(train: TrainConfig, shard: Shard, used: Counters) -> int | None:
    """The number of steps of a run; None if its length is in minutes or FLOPs. used: what it has used so far, maybe with
    another batch size.
    """
    if train.megabytes is None:
        return train.steps
    n_rows = (1e6 * train.megabytes - used.searched) / (train.seq_len * shard.n_bytes / (len(shard.tokens) + shard.n_documents))
    earlier = used.step - used.rows / train.batch_size  # 0 unless the batch size has changed
    return max(used.step, 1, math.floor(n_rows / train.batch_size + earlier + 0.5))


def progress_of(train: TrainConfig, counters: Counters, total: int | None) -> float:
    """The share of a run that is done, 0 to 1. total: its number of steps, as `steps_of_run` finds it."""
    if train.megabytes is not None and total is not None:  # by rows, because steps may have differed in size
        return min(1.0, counters.rows / max(1, counters.rows + (total - counters.step) * train.batch_size))
    if train.teraflops is not None:
        return min(1.0, counters.flops / train.teraflops / 1e12)
    if train.minutes is not None:
        return min(1.0, counters.spent / train.minutes / 60)
    return min(1.0, counters.step / (total or 1))
