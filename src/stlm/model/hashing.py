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
    sums, inverse = prefix_sums(tokens)
    sums = F.pad(sums, (1, 0))  # minus the part before the start, divided by the power at the start
    hashed = (sums[:, 1:, None] - sums.gather(1, start.flatten(1)).view_as(start)) * inverse[start]
    hashed = hashed + reach  # the length is part of the hash, so n-grams cut at the start of a document differ by n
    return mixed(hashed)[:, tokens.shape[1] - seq:]


def prefix_sums(tokens: Int[Tensor, "batch seq"]) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, " seq"]]:
    """The sums of tokens times powers up to each token, and the inverses of these powers, all modulo 2^64. The difference of
    two sums, times the inverse at the first of the places, depends on the tokens between them only.
    """
    powers, inverse = (torch.full_like(tokens[0], base).cumprod(0) for base in (BASE, INVERSE))
    return ((tokens + 1) * powers).cumsum(1), inverse


def mixed(hashed: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Numbers from 0 to 2^31 - 1 to which all bits of ``hashed`` have added."""
    return (((hashed ^ (hashed >> 32)) * MIX) >> 33) & 0x7FFFFFFF
