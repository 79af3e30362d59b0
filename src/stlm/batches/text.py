"""Batches of the corpus. They are a pure function of the seed and of the number of rows that were read before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stlm.batches import BatchesConfig, BatchPlan, BatchSource
from stlm.data.batch import Batch
from stlm.data.stream import Stream, completed
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class Config(BatchesConfig):
    """The corpus, every document once an epoch, in an order drawn from the seed."""

    def build(self, plan: BatchPlan) -> TextBatches:
        return TextBatches(plan)


class Draws(Sequence[np.random.Generator]):
    """A generator for each row of a batch that begins with row ``first``. It is made when it is asked for: few objectives draw,
    and making one takes as long as reading a row.
    """

    def __init__(self, seed: int, first: int, rows: int) -> None:
        self._seed, self._rows = seed, range(first, first + rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        return np.random.default_rng([self._seed, self._rows[row]])


class TextBatches(BatchSource):
    pure = True

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan
        part = plan.batch_size // plan.grad_accum
        self._own = range(part * plan.rank // plan.ranks, part * (plan.rank + 1) // plan.ranks)  # this process's rows of a part
        self._stream = Stream(plan.corpus.train, plan.corpus.tokenizer, plan.seq_len, len(self._own), plan.seed)

    def batches(self, step: int, model: LM) -> list[Batch]:
        first, part = self._first_row(step), self._plan.batch_size // self._plan.grad_accum
        return [self._batch(first + i * part) for i in range(self._plan.grad_accum)]

    def probe(self, step: int = 0) -> Batch:
        return self._batch(self._first_row(step))

    def _first_row(self, step: int) -> int:
        """The first row of a step. Steps before the plan's first step had maybe another size."""
        return self._plan.first_row + (step - self._plan.first_step) * self._plan.batch_size

    def _batch(self, part: int) -> Batch:
        """This process's rows of the part of a step that begins with row ``part``."""
        first = part + self._own.start
        prepared = self._plan.objective.prepare(self._stream.batch_from(first), Draws(self._plan.seed, first, len(self._own)))
        return completed(prepared, self._plan.from_tokens)
