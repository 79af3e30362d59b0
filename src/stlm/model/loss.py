"""A loss as a sum and a count, so that losses of micro-batches and ranks can be added exactly."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

Metrics = dict[str, tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Loss:
    """total: the sum that is back-propagated. count: the divisor of the gradient; the gradients and the counts of all
    micro-batches and ranks are added first, and then divided once. metrics: further figures as (sum, count).
    """

    total: Tensor
    count: Tensor
    metrics: Metrics = dataclasses.field(default_factory=dict)

    def plus(self, other: Loss, weight: float | Tensor = 1.0) -> Loss:
        """This loss plus ``weight`` times the sum of another loss. The count of this loss stays the divisor."""
        return Loss(self.total + weight * other.total, self.count, {**other.metrics, **self.metrics})


def exact(value: Tensor) -> Tensor:
    """``value`` in the type in which figures are added up: float64, which Apple GPUs lack."""
    return value.float() if value.device.type == "mps" else value.double()


def figure(value: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A figure for `Loss.metrics`: a sum and its count. Without a count, ``value`` is one figure for each row [batch]."""
    value = value.detach()
    return (value.sum(), torch.ones_like(value).sum()) if count is None else (value, count)
