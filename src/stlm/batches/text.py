"""Batches of the corpus. They are a pure function of the seed and of the number of rows that were read before.

Two things may grow in training (for example Li et al. 2022, arXiv 2108.06084): the batch, by using only some of a step's
micro-batches at first, and the length of rows, by cutting them into pieces at first. Shapes then stay few.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from stlm.batches import BatchesConfig, BatchPlan, BatchSource
from stlm.config.bounds import ShareAboveZero
from stlm.data.batch import Batch
from stlm.data.stream import Stream, completed
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.schedule import ScheduleConfig, between, linear


@dataclasses.dataclass(frozen=True)
class Config(BatchesConfig):
    """The corpus, every document once an epoch, in an order drawn from the seed."""

    reshuffle: bool = True
    """Draw a new order of documents and rows for every epoch."""
    first_batch: ShareAboveZero = 1.0
    """Size of the first steps, as a share of --train.batch-size. A step then has only some of its --train.grad-accum parts."""
    first_length: ShareAboveZero = 1.0
    """Length of the first rows, as a share of --train.seq-len. Rows are cut into 2, 4, 8 or more pieces."""
    schedule: ScheduleConfig = linear.Config()
    """The way of both to their full size."""

    @property
    def steps_grow(self) -> bool:
        return self.first_batch < 1

    def build(self, plan: BatchPlan) -> TextBatches:
        if self.steps_grow and plan.grad_accum == 1:
            raise UserError("batches.first_batch: a step has one part, so it can't be smaller; set --train.grad-accum to 2 or "
                            "more")
        if self.steps_grow and parts_of(self.first_batch, plan.grad_accum) == plan.grad_accum:
            raise UserError(f"batches.first_batch = {self.first_batch:g}: of {plan.grad_accum} parts of a step that is all of "
                            "them; use a smaller share, or more --train.grad-accum")
        pieces = pieces_of(self.first_length)
        if self.first_length < 1 and pieces == 1:
            raise UserError(f"batches.first_length = {self.first_length:g}: rows are cut into 2, 4, 8 or more pieces, so "
                            "use 0.7 or less")
        if pieces > plan.seq_len:
            raise UserError(f"batches.first_length = {self.first_length:g}: rows have {plan.seq_len} tokens, so use at least "
                            f"{1 / plan.seq_len:.3g}")
        if plan.seq_len % pieces:
            raise UserError(f"batches.first_length: rows of {plan.seq_len} tokens can't be cut into {pieces} equal pieces; use "
                            f"a multiple of {pieces} for --train.seq-len")
        return TextBatches(plan, self)


def pieces_of(share: float) -> int:
    """The number of pieces of a row, a power of two, with which each has about this share of its length."""
    return 1 << min(30, round(-math.log2(share)))


def parts_of(share: float, grad_accum: int) -> int:
    """How many of a step's parts are about this share of them."""
    return max(1, round(share * grad_accum))


class Draws(Sequence[np.random.Generator]):
    """A generator for each row of a batch that begins with row ``first``, or for each piece of its rows. It is made when it is
    asked for: few objectives draw, and making one takes as long as reading a row.
    """

    def __init__(self, seed: int, first: int, rows: int, pieces: int = 1) -> None:
        self._seed, self._rows, self._pieces = seed, range(first, first + rows), pieces

    def __len__(self) -> int:
        return len(self._rows) * self._pieces

    def __getitem__(self, index: Any) -> Any:
        row, piece = divmod(range(len(self))[index], self._pieces)
        return np.random.default_rng([self._seed, self._rows[row], *([piece] if piece else [])])


class TextBatches(BatchSource):
    pure = True

    def __init__(self, plan: BatchPlan, config: Config) -> None:
        self.flops_change = config.first_length < 1  # attention reads less in short rows
        self._plan, self._config, self._part = plan, config, plan.batch_size // plan.grad_accum
        self._own = range(self._part * plan.rank // plan.ranks, self._part * (plan.rank + 1) // plan.ranks)
        self._stream = Stream(plan.corpus.train, plan.corpus.tokenizer, plan.seq_len, len(self._own), plan.seed,
                              reshuffle=config.reshuffle)
        self._adding = threading.Lock()
        self.follow(lambda step, rows: 0.0)

    def follow(self, progress: Callable[[int, int], float]) -> None:
        self._progress_at = progress
        self._first = [self._plan.first_row]  # the first row of each step from the plan's first one on
        self._parts, self._progress = list[int](), list[float]()  # of these steps

    def batches(self, step: int, model: LM) -> list[Batch]:
        index = self._reach(step)
        return [self._batch(index, part) for part in range(self._parts[index])]

    def probe(self, step: int = 0) -> Batch:
        return self._batch(self._reach(step), 0)

    def _reach(self, step: int) -> int:
        """Decide the sizes of all steps up to this one, each once. Returns the step's index in the lists."""
        index, plan, config = step - self._plan.first_step, self._plan, self._config
        with self._adding:  # several steps may be prepared at a time
            while len(self._parts) <= index:
                progress = self._progress_at(plan.first_step + len(self._parts), self._first[-1])
                share = between(config.schedule, config.first_batch, 1.0, progress)
                self._parts.append(parts_of(share, plan.grad_accum))
                self._progress.append(progress)
                self._first.append(self._first[-1] + self._parts[-1] * self._part)
        return index

    def _batch(self, index: int, part: int) -> Batch:
        """This process's rows of a part of a step."""
        plan, config, progress = self._plan, self._config, self._progress[index]
        first = self._first[index] + part * self._part + self._own.start
        pieces = pieces_of(between(config.schedule, config.first_length, 1.0, progress))
        numbers = torch.arange(first * pieces, (first + len(self._own)) * pieces)
        batch = dataclasses.replace(self._stream.batch_from(first).cut(pieces), rows=numbers)
        prepared = plan.objective.prepare(batch, Draws(plan.seed, first, len(self._own), pieces), progress)
        return completed(prepared, plan.from_tokens)
