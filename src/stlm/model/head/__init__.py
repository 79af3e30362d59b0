"""Vectors to scores of the next symbol. The slot ``head``; its kinds are ``tied`` and ``untied``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class HeadConfig(Slot):
    """How the next symbol's scores are read."""

    package: ClassVar[str] = "stlm.model.head"

    @abc.abstractmethod
    def build(self, dim: int, n_symbols: int) -> Head:
        """The head for vectors of ``dim``."""


class Head(nn.Module, abc.ABC):
    @abc.abstractmethod
    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "symbol dim"]
                ) -> Float[Tensor, "batch seq symbol"]:
        """Logits; ``table`` is the input table, for heads that share it."""
