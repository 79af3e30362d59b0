"""Symbols to vectors. The slot ``embedding``; its kinds are ``symbols``, ``ngrams`` and ``recall``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(Slot):
    """How a symbol, with those before it, becomes a vector."""

    package: ClassVar[str] = "stlm.model.embedding"

    @abc.abstractmethod
    def build(self, dim: int, codec: Codec) -> Embedding:
        """The embedding of the symbols of ``codec`` in ``dim`` numbers."""


class Embedding(nn.Module, abc.ABC):
    lookback: int = 0
    """How many earlier symbols of the same document a vector depends on."""

    @abc.abstractmethod
    def forward(self, symbols: Int[Tensor, "batch total"], documents: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "symbol dim"]) -> Float[Tensor, "batch seq dim"]:
        """Vectors of the last ``seq`` symbols; those before are there to be looked back at. ``table`` has a row for
        each symbol by itself; the head may share it.
        """
