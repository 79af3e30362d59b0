"""Tokens to vectors. The slot ``embedding``; its kinds are ``tokens``, ``ngrams`` and ``recall``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig(Slot):
    """How a token, with those before it, becomes a vector."""

    package: ClassVar[str] = "stlm.model.embedding"

    @abc.abstractmethod
    def build(self, dim: int, tokenizer: Tokenizer) -> Embedding:
        """The embedding of the tokens of ``tokenizer`` as vectors of ``dim``."""


class Embedding(nn.Module, abc.ABC):
    lookback: int = 0
    """How many earlier tokens of the same document a vector depends on."""

    @abc.abstractmethod
    def forward(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "token dim"]) -> Float[Tensor, "batch seq dim"]:
        """Vectors of the last ``seq`` tokens. The tokens before them are context. ``table`` has one row for each token; the
        head may share it.
        """
