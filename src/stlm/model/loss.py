"""A loss as a sum and a count, so that it adds up over micro-batches and ranks without rounding away."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

Metrics = dict[str, tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Loss:
    """total: a sum that is back-propagated; count: what its gradient is divided by, once, after those of all micro-batches
    and ranks have been added. metrics: further figures as (sum, count).
    """

    total: Tensor
    count: Tensor
    metrics: Metrics = dataclasses.field(default_factory=dict)

    def plus(self, other: Loss, weight: float = 1.0) -> Loss:
        """This loss with ``weight`` times another's sum added; its own count stays the denominator."""
        return Loss(self.total + weight * other.total, self.count, {**other.metrics, **self.metrics})


def figure(value: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A figure for `Loss.metrics`: a sum and its count; a mean of one batch where no count is given."""
    return value.detach(), torch.ones_like(value.detach()) if count is None else count
