"""Hashed n-grams beside each symbol (Pagnoni et al. 2024, Byte Latent Transformer, arXiv 2412.09871, section 3.2.1).

The last n symbols up to and including a symbol are hashed to a row of a table, for several n; so are the beginning of
the word that the symbol stands in, alone and behind the words before it. The rows are added to the symbol's own.
Looking rows up costs next to no arithmetic, so this buys parameters without paying FLOPs.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.model.embedding import Embedding, EmbeddingConfig
from stlm.model.patching.whitespace import space_like
from stlm.text.codec import Codec

_BASE, _MIX = -7046029254386353131, -4658895280553007687  # odd 64-bit constants (golden ratio, and murmur's mixer)
_INVERSE = pow(_BASE, -1, 2**64) - 2**64  # as a signed number
LONGEST = 24  # symbols that a hash takes in at most


@dataclasses.dataclass(frozen=True)
class Config(EmbeddingConfig):
    """A row of the table for each symbol, and a row for each hashed n-gram that ends there."""

    orders: tuple[int, ...] = (2, 3, 4, 5)
    """Lengths of the n-grams, in symbols."""
    words: int = 0
    """Also hash the word so far, and the word so far behind one word less than this."""
    rows: int = 4096
    """Rows of the table of each n-gram."""

    def __post_init__(self) -> None:
        if any(not 2 <= n <= LONGEST for n in self.orders):
            raise ValueError(f"orders = {list(self.orders)}: give lengths from 2 to {LONGEST}")
        if self.words < 0 or (not self.orders and not self.words):
            raise ValueError("give orders, or words = 1 or more, or embedding = \"symbols\"")
        if self.rows < 1:
            raise ValueError("rows has to be 1 or more")

    def build(self, dim: int, codec: Codec) -> NGrams:
        return NGrams(dim, codec, self)


class NGrams(Embedding):
    parts_words: Tensor
    reach: Tensor
    offset: Tensor

    def __init__(self, dim: int, codec: Codec, config: Config) -> None:
        super().__init__()
        n_tables = len(config.orders) + config.words
        self.words, self.rows = config.words, config.rows
        self.lookback = LONGEST + 1 if config.words else max(config.orders) - 1
        self.table = nn.Parameter(torch.zeros(n_tables * config.rows, dim))
        self.register_buffer("reach", torch.tensor(config.orders, dtype=torch.long) - 1, persistent=False)
        self.register_buffer("offset", torch.arange(n_tables) * config.rows, persistent=False)
        self.register_buffer("parts_words", torch.tensor([space_like(s) for s in codec.symbol_bytes]), persistent=False)

    def forward(self, symbols: Int[Tensor, "batch total"], documents: Int[Tensor, "batch total"], seq: int,
                table: Float[Tensor, "symbol dim"]) -> Float[Tensor, "batch seq dim"]:
        rows = self.rows_of(symbols, documents)[:, symbols.shape[1] - seq:]
        found = F.embedding_bag(rows.flatten(0, 1), self.table, mode="sum").view(*rows.shape[:2], -1)
        return table[symbols[:, symbols.shape[1] - seq:]] + found

    def rows_of(self, symbols: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"]
                ) -> Int[Tensor, "batch seq n"]:
        """The row of each n-gram that ends with each symbol. None reaches back into another document."""
        place = torch.arange(symbols.shape[1], device=symbols.device).expand_as(symbols)
        opens = torch.ones_like(documents, dtype=torch.bool)
        opens[:, 1:] = documents[:, 1:] != documents[:, :-1]
        first = torch.where(opens, place, 0).cummax(dim=1).values
        starts = [torch.maximum(place[..., None] - self.reach, first[..., None])]
        if self.words:
            begins = torch.where(self._begins(symbols, opens), place, 0).cummax(dim=1).values
            start, first = place + 1, torch.maximum(first, place - (LONGEST - 1))
            for _ in range(self.words):
                start = torch.maximum(begins.gather(1, (start - 1).clamp(min=0)), first)
                starts.append(start[..., None])
        start = torch.cat(starts, dim=2)
        # A sum of symbols times powers, less what stands before the start, divided by the power there: all modulo 2^64.
        powers, inverse = (torch.full_like(symbols[0], base).cumprod(0) for base in (_BASE, _INVERSE))
        sums = F.pad(((symbols + 1) * powers).cumsum(1), (1, 0))
        hashed = (sums[:, 1:, None] - sums.gather(1, start.flatten(1)).view_as(start)) * inverse[start]
        mixed = (hashed ^ (hashed >> 32)) * _MIX
        return ((mixed >> 33) & 0x7FFFFFFF) % self.rows + self.offset

    def _begins(self, symbols: Int[Tensor, "batch seq"], opens: Bool[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
        """Where a word begins: after the first space-like symbol that follows others, and where a document does."""
        space = self.parts_words[symbols]
        begins = opens.clone()
        begins[:, 2:] |= space[:, 1:-1] & ~space[:, :-2]
        begins[:, 1:] |= opens[:, :-1] & space[:, :-1]
        return begins
