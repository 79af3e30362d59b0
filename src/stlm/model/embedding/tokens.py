"""One row of a table for each token."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.embedding import Embedding, EmbeddingConfig
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(EmbeddingConfig):
    """A row of a table for each token."""

    def build(self, dim: int, tokenizer: Tokenizer) -> TokenEmbedding:
        return TokenEmbedding()


class TokenEmbedding(Embedding):
    def forward(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "token dim"]) -> Float[Tensor, "batch seq dim"]:
        return table[tokens[:, tokens.shape[1] - seq:]]
