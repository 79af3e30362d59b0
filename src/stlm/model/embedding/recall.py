"""Hashed n-grams, and the token that followed the last occurrence of the same few tokens in the document.

For several n, the last earlier occurrence of the last n tokens is searched. The token that followed it has a row in a table,
and this row is added to the vector. This is the match model of the PAQ compressors (Mahoney 2002) and resembles the n-gram
heads of Akyürek et al. 2024 (arXiv 2401.12973). Attention in models this small learns to copy late or never, and this provides
it. It needs hardly any arithmetic and few parameters: one row for each token and each n.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from stlm.config.bounds import Range, Size
from stlm.model.embedding import ngrams
from stlm.model.hashing import BASE, MIX
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(ngrams.Config):
    """Hashed n-grams, plus the token that followed the last time that the document had the same few tokens."""

    matches: tuple[Annotated[int, Range(1, 256)], ...] = (3, 5)
    """How many of the last tokens must match an earlier position; there is one search for each number."""
    window: Size = 1024
    """How many tokens back to search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.matches:
            raise ValueError("matches: give at least one length")

    def build(self, dim: int, tokenizer: Tokenizer) -> Recall:
        return Recall(dim, tokenizer.vocab_size, self)


class Recall(ngrams.NGrams):
    """The table has the rows of the hashed n-grams first. Then, for each n of ``matches``, it has one row for each token and
    one for no match.
    """

    first_rows: Tensor

    def __init__(self, dim: int, vocab_size: int, config: Config) -> None:
        super().__init__(dim, config, further_rows=len(config.matches) * (vocab_size + 1))
        self.none, self.matches, self.window = vocab_size, config.matches, config.window
        self.lookback = max(self.longest, self.window + max(self.matches) - 1)
        self.register_buffer("first_rows", self.rows + torch.arange(len(self.matches)) * (vocab_size + 1), persistent=False)

    def rows_of(self, tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int
                ) -> Int[Tensor, "batch seq n"]:
        matched = last_occurrences(tokens, segment_ids, self.matches, self.window, seq)
        following = torch.where(matched >= 0, tokens.gather(1, matched.flatten(1) + 1).view_as(matched), self.none)
        return torch.cat([super().rows_of(tokens, segment_ids, seq), following + self.first_rows], dim=2)


def last_occurrences(tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], matches: tuple[int, ...],
                     window: int, seq: int) -> Int[Tensor, "batch seq match"]:
    """For each of the last ``seq`` tokens and each n of ``matches``: the position where the last n tokens ended before in the
    same document, at most ``window`` tokens back; -1 if there is none.
    """
    if seq > 1:
        return torch.stack([_by_sorting(tokens, segment_ids, n, window, seq) for n in matches], dim=2)
    longest = max(matches)  # one step of decoding, in as few calls as possible: count the tokens that agree at each position
    padded, owners = F.pad(tokens, (longest + 1, 0)), F.pad(segment_ids, (longest + 1, 0), value=-2)
    same = padded[:, 1:-1].unfold(1, longest, 1) == padded[:, None, -longest:]
    same = same & (owners[:, 1:-1].unfold(1, longest, 1) == owners[:, -1:, None])
    n_equal = same.flip(2).cumprod(dim=2).sum(dim=2)[:, -window:, None]
    index = torch.arange(-1, tokens.shape[1] - 1, device=tokens.device)[-window:, None]  # the first is padding
    return torch.where(n_equal >= torch.tensor(matches, device=tokens.device), index, -1).amax(dim=1, keepdim=True)


def _by_sorting(tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], n: int, window: int, seq: int
                ) -> Int[Tensor, "batch seq"]:
    total = tokens.shape[1]
    index = torch.arange(total, device=tokens.device).expand_as(tokens)
    powers = torch.full((n,), BASE, device=tokens.device).cumprod(0)
    keys = (F.pad(tokens + 1, (n - 1, 0)).unfold(1, n, 1) * powers).sum(dim=2) + segment_ids * MIX
    whole = F.pad(segment_ids, (n - 1, 0), value=-2)[:, :total] == segment_ids
    keys = torch.where(whole, keys, index)  # different from all other keys
    order = keys.argsort(dim=1, stable=True)
    ranked = keys.gather(1, order)
    again = torch.zeros_like(whole)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    before = torch.where(again, order.roll(1, dims=1), -1)
    found = torch.empty_like(before).scatter_(1, order, before)[:, total - seq:]
    return torch.where(index[:, total - seq:] - found <= window, found, -1)
