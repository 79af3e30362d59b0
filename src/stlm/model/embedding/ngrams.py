"""Embeddings of hashed n-grams (Pagnoni et al. 2024, Byte Latent Transformer, arXiv 2412.09871, section 3.2.1).

For several n, the last n tokens up to and including a token are hashed to a row of a table. These rows are added to the token's
own row. Looking up rows takes hardly any FLOPs, so the model gets more parameters at almost no cost. All n share one table:
there are few different pairs of bytes and many quintuples, and in one table each length uses as many rows as it needs
(docs/log.md).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Range
from stlm.model.embedding import Embedding, EmbeddingConfig
from stlm.model.hashing import ngram_hashes
from stlm.nn.weights import Role
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(EmbeddingConfig):
    """A row of a table for each token, plus a row for each hashed n-gram that ends there."""

    orders: tuple[Annotated[int, Range(2, 256)], ...] = (2, 3, 4, 5)
    """Lengths of the n-grams, in tokens."""
    rows: Annotated[int, Range(1, 2**31 - 1)] = 32768
    """Number of rows in the table that all n-grams share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.orders:
            raise ValueError("orders: give at least one length")

    def build(self, dim: int, tokenizer: Tokenizer) -> NGrams:
        return NGrams(dim, self)


class NGrams(Embedding):
    reach: Tensor

    def __init__(self, dim: int, config: Config, further_rows: int = 0) -> None:
        super().__init__()
        self.rows, self.longest = config.rows, max(config.orders) - 1
        self.lookback = self.longest
        self.roles = {"table": Role.TABLE}
        self.table = nn.Parameter(torch.zeros(config.rows + further_rows, dim))
        self.register_buffer("reach", torch.tensor(config.orders) - 1, persistent=False)

    def forward(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "token dim"]) -> Float[Tensor, "batch seq dim"]:
        rows = self.rows_of(tokens, segment_ids, seq)
        found = F.embedding_bag(rows.flatten(0, 1), self.table, mode="sum").view(*rows.shape[:2], -1)
        return table[tokens[:, tokens.shape[1] - seq:]] + found

    def rows_of(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int
                ) -> Int[Tensor, "batch seq order"]:
        """The row of each n-gram that ends with one of the last ``seq`` tokens."""
        return ngram_hashes(tokens, segment_ids, seq, self.reach, self.longest) % self.rows
