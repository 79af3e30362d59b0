"""Where batches come from. The slot ``batches``. Text is one source; a game that a model plays against itself is another."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from stlm.config.slot import Slot
from stlm.data.batch import Batch
from stlm.data.shards import Corpus
from stlm.data.stream import FromTokens
from stlm.model.lm import LM
from stlm.objective import Objective


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """What a source is built from. seq_len: tokens in a row; batch_size: rows in a step, in ``grad_accum`` micro-batches;
    from_tokens: a function that finds what tokens alone decide, for `completed`. first_step, first_row: the step at which the
    run goes on, and the number of rows that the steps before it have read. rank, ranks: the number of this process and of all;
    each reads its share of the rows of a micro-batch.
    """

    corpus: Corpus
    objective: Objective
    seq_len: int
    batch_size: int
    grad_accum: int
    seed: int
    from_tokens: FromTokens
    first_step: int = 0
    first_row: int = 0
    rank: int = 0
    ranks: int = 1


@dataclasses.dataclass(frozen=True)
class BatchesConfig(Slot):
    """Where batches come from."""

    package: ClassVar[str] = "stlm.batches"

    @property
    def steps_grow(self) -> bool:
        """Whether steps have more parts later in training than at first."""
        return False

    @abc.abstractmethod
    def build(self, plan: BatchPlan) -> BatchSource:
        """The source of one run's batches."""


class BatchSource(abc.ABC):
    pure: bool = False
    """True if batches depend only on the step. They may then be prefetched, and there is no state to save."""
    flops_change: bool = False
    """Whether the cost of a token changes as batches do."""

    def follow(self, progress: Callable[[int, int], float]) -> None:  # noqa: B027, because most sources never change
        """Called before the first step, for sources whose batches change in training. ``progress(step, rows)``: the share of
        the run that is over, 0 to 1, when so many steps and rows are done; if the run's length is in minutes or FLOPs, the
        share that is over now.
        """

    @abc.abstractmethod
    def batches(self, step: int, model: LM) -> list[Batch]:
        """The micro-batches of one step, on the CPU, prepared by the objective and completed."""

    @abc.abstractmethod
    def probe(self, step: int = 0) -> Batch:
        """A micro-batch like those of ``step``, for timing and counting. The state of the source doesn't change."""

    def state_dict(self) -> dict[str, Any]:
        """The state that is needed to resume: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state")
