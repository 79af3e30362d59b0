"""Batches of the corpus. They are a pure function of the seed and the step."""

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
        n = self._plan.grad_accum
        return [self._batch(step * n + i) for i in range(n)]

    def probe(self, step: int = 0) -> Batch:
        return self._batch(step * self._plan.grad_accum)

    def _batch(self, number: int) -> Batch:
        draw = np.random.default_rng([self._plan.seed, number])
        return with_ends(self._plan.objective.prepare(self._stream.batch(number), draw), self._plan.boundaries)
