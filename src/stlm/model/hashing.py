"""Hashes of n-grams modulo 2^64, as signed numbers."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

BASE, MIX = -7046029254386353131, -4658895280553007687  # both odd: from the golden ratio, and from MurmurHash3's mixer
INVERSE = pow(BASE, -1, 2**64) - 2**64  # BASE * INVERSE = 1


def ngram_hashes(tokens: Int[Tensor, "batch total"], segment_ids: Int[Tensor, "batch total"], seq: int,
                 reach: Int[Tensor, " order"], longest: int) -> Int[Tensor, "batch seq order"]:
    """A hash from 0 to 2^31 - 1 of each n-gram that ends with one of the last ``seq`` tokens. An n-gram contains tokens of one
    document only. reach: n - 1 of each order; longest: the largest of them.
    """
    unused = max(0, tokens.shape[1] - seq - longest)
    tokens, segment_ids = tokens[:, unused:], segment_ids[:, unused:]
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    starts = torch.ones_like(segment_ids, dtype=torch.bool)
    starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    first = torch.where(starts, index, 0).cummax(dim=1).values
    start = torch.maximum(index[..., None] - reach, first[..., None])
    # The sum of tokens times powers, minus the part before the start, divided by the power at the start, all modulo 2^64.
    powers, inverse = (torch.full_like(tokens[0], base).cumprod(0) for base in (BASE, INVERSE))
    sums = F.pad(((tokens + 1) * powers).cumsum(1), (1, 0))
    hashed = (sums[:, 1:, None] - sums.gather(1, start.flatten(1)).view_as(start)) * inverse[start]
    hashed = hashed + reach  # the length is part of the hash, so n-grams cut at the start of a document differ by n
    mixed = (hashed ^ (hashed >> 32)) * MIX
    return ((mixed >> 33) & 0x7FFFFFFF)[:, tokens.shape[1] - seq:]
