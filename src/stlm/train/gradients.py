"""Gradients of micro-batches, added up apart from where the backward pass writes them.

CUDA graphs write the gradients of every micro-batch to the same place, so they have to be taken out before the next one. Adding
all of them at once also takes a few kernels instead of one for each parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GradientSum:
    """The sum of the gradients of ``parameters`` over several backward passes."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters, self._sums = parameters, dict[nn.Parameter, Tensor]()

    def take(self) -> None:
        """Add the present gradients to the sum, and leave none."""
        new = {parameter: parameter.grad for parameter in self._parameters if parameter.grad is not None}
        if again := [parameter for parameter in new if parameter in self._sums]:
            torch._foreach_add_([self._sums[parameter] for parameter in again], [new[parameter] for parameter in again])
        if first := [parameter for parameter in new if parameter not in self._sums]:
            self._sums.update(zip(first, torch._foreach_mul([new[parameter] for parameter in first], 1), strict=True))
        for parameter in new:
            parameter.grad = None

    def give(self) -> None:
        """Make the sum the gradients of the parameters."""
        for parameter, grad in self._sums.items():
            parameter.grad = grad
