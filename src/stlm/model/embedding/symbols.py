"""Each symbol by itself."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.embedding import Embedding, EmbeddingConfig
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Config(EmbeddingConfig):
    """A row of the table for each symbol."""

    def build(self, dim: int, codec: Codec) -> Symbols:
        return Symbols()


class Symbols(Embedding):
    def forward(self, symbols: Int[Tensor, "batch total"], documents: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "symbol dim"]) -> Float[Tensor, "batch seq dim"]:
        return table[symbols[:, symbols.shape[1] - seq:]]
