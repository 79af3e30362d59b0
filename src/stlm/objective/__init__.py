"""What a model is trained for. The slot ``objective``; its kind so far is ``causal``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import Tensor

from stlm.config.slot import Slot
from stlm.data.batch import Batch
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Slot):
    """What is minimised."""

    package: ClassVar[str] = "stlm.objective"

    @abc.abstractmethod
    def build(self) -> Objective:
        """The objective as a callable."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """total: what is minimised, the mean over the batch's weights. metrics: figures as (sum, count), so that adding
    them up over micro-batches and processes is exact.
    """

    total: Tensor
    metrics: dict[str, tuple[Tensor, Tensor]]


class Objective(abc.ABC):
    @abc.abstractmethod
    def __call__(self, model: LM, batch: Batch) -> Loss:
        """The loss of one batch, with the graph to differentiate it."""
