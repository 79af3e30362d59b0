"""Batches of the corpus. They are a pure function of the seed and of the number of rows that were read before."""

from __future__ import annotations

import dataclasses

import numpy as np

from stlm.batches import BatchesConfig, BatchPlan, BatchSource
from stlm.data.batch import Batch
from stlm.data.stream import Stream, with_ends
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class Config(BatchesConfig):
    """The corpus, every document once an epoch, in an order drawn from the seed."""

    def build(self, plan: BatchPlan) -> TextBatches:
        return TextBatches(plan)


class TextBatches(BatchSource):
    pure = True

    def __init__(self, plan: BatchPlan) -> None:
        self._plan = plan
        self._stream = Stream(plan.corpus.train, plan.corpus.tokenizer, plan.seq_len, plan.batch_size // plan.grad_accum,
                              plan.seed)

    def batches(self, step: int, model: LM) -> list[Batch]:
        first, size = self._first_row(step), self._stream.batch_size
        return [self._batch(first + i * size) for i in range(self._plan.grad_accum)]

    def probe(self, step: int = 0) -> Batch:
        return self._batch(self._first_row(step))

    def _first_row(self, step: int) -> int:
        """The first row of a step. Steps before the plan's first step had maybe another size."""
        return self._plan.first_row + (step - self._plan.first_step) * self._plan.batch_size

    def _batch(self, first_row: int) -> Batch:
        draw = np.random.default_rng([self._plan.seed, first_row])
        return with_ends(self._plan.objective.prepare(self._stream.batch_from(first_row), draw), self._plan.boundaries)
