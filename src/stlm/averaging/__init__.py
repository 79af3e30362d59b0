"""A mean of the weights of many steps, which is used in the place of the last ones. The slot ``train.averaging``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class Moment:
    """The end of a step. before, after: the share of the run that is done, before the step and after it. epochs: how many times
    the training text was read so far.
    """

    before: float
    after: float
    epochs: float


@dataclasses.dataclass(frozen=True)
class AveragingConfig(Slot):
    """Which mean of the weights is used."""

    package: ClassVar[str] = "stlm.averaging"
    averages: ClassVar[bool] = True  # whether there is a mean at all
    by_epochs: ClassVar[bool] = False  # whether it needs to know when epochs end

    @abc.abstractmethod
    def rate(self, moment: Moment, count: int) -> float | None:
        """The share of the present weights in the new mean, 0 to 1. None: there is no mean yet; the present weights are used.
        count: the number of steps whose weights are in the mean so far.

        It depends on nothing else, so a run that goes on has the mean of the undisturbed run.
        """


@torch.no_grad()
def average(mean: Sequence[Tensor], weights: Sequence[Tensor], rate: float) -> None:
    """Move ``mean`` towards ``weights`` by ``rate``, in place."""
    torch._foreach_lerp_(list(mean), list(weights), rate)
