"""Feed-forward layers. The slot ``ffn``; its kinds are ``relu2`` and ``swiglu``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import nn

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class FeedForwardConfig(Slot):
    """A layer that works on each position separately: ``[batch, seq, dim] -> [batch, seq, dim]``."""

    package: ClassVar[str] = "stlm.nn.ffn"

    @abc.abstractmethod
    def build(self, dim: int) -> nn.Module:
        """The layer for vectors of ``dim``."""


def hidden_width(dim: int, ratio: float) -> int:
    """Width of the hidden layer: ``ratio * dim``, rounded to a multiple of 16, which fast kernels need."""
    return max(16, round(ratio * dim / 16) * 16)
