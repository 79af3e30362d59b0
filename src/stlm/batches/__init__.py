"""Where batches come from. The slot ``batches``: text is one source, a game that a model plays against itself another."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from stlm.config.slot import Slot
from stlm.data.batch import Batch
from stlm.data.shards import Corpus
from stlm.data.stream import Boundaries
from stlm.model.lm import LM
from stlm.objective import Objective


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """What a source is built from. seq_len: tokens in a row; batch_size: rows in a step, in ``grad_accum`` micro-batches;
    boundaries: finds the ends of patches where tokens alone decide them, None where it takes the model.
    """

    corpus: Corpus
    objective: Objective
    seq_len: int
    batch_size: int
    grad_accum: int
    seed: int
    boundaries: Boundaries


@dataclasses.dataclass(frozen=True)
class BatchesConfig(Slot):
    """Where batches come from."""

    package: ClassVar[str] = "stlm.batches"

    @abc.abstractmethod
    def build(self, plan: BatchPlan) -> BatchSource:
        """The source of one run's batches."""


class BatchSource(abc.ABC):
    pure: bool = False
    """True where batches depend on the step alone, so that they may be made ahead, and there is no state to keep."""

    @abc.abstractmethod
    def batches(self, step: int, model: LM) -> list[Batch]:
        """The micro-batches of one step, on the CPU, as the objective prepared them and with ends of patches."""

    @abc.abstractmethod
    def probe(self, step: int = 0) -> Batch:
        """A micro-batch such as those of ``step``, to time and count with. It changes nothing in the source."""

    def state_dict(self) -> dict[str, Any]:
        """What has to be kept to go on: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state")
