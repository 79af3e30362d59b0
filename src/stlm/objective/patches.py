"""The patches of a batch, for objectives about patches."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from stlm.data.batch import Batch
from stlm.model.hashing import BASE, INVERSE, MIX
from stlm.model.layout import Layout, layout, segment_positions, take
from stlm.model.lm import LM
from stlm.model.output import Output


@dataclasses.dataclass(frozen=True)
class Patches:
    """states: the trunk's output for each patch. where: which byte is in which patch. follows: which patches have a next one in
    the same document.
    """

    states: Float[Tensor, "batch patch dim"]
    where: Layout
    follows: Bool[Tensor, "batch patch"]

    def mean_of(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch patch dim"]:
        """The mean of byte vectors over the bytes of each patch."""
        batch, n, dim = len(x), self.where.n_patches, x.shape[2]
        index = self.where.patch_of_byte
        total = x.new_zeros(batch, n + 1, dim).scatter_add(1, index[..., None].expand(-1, -1, dim), x)
        count = x.new_zeros(batch, n + 1).scatter_add(1, index, torch.ones_like(index, dtype=x.dtype))
        return (total / count.clamp(min=1)[..., None])[:, :-1]


def patches_of(model: LM, output: Output, batch: Batch) -> Patches:
    """The patches of a batch that the model has read."""
    segment_ids, _ = segment_positions(batch.inputs == model.bos)
    states = output.trunk.states
    where = layout(output.ends, segment_ids, states.shape[1])
    owner = where.at_ends(segment_ids)
    follows = torch.zeros_like(where.exists)
    follows[:, :-1] = where.exists[:, 1:] & (owner[:, 1:] == owner[:, :-1])
    return Patches(states, where, follows)


def shifted(x: Tensor) -> Tensor:
    """``x`` [batch, n, ...] of the next patch; the last one's is zero."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def mean_of_row(values: Float[Tensor, "batch n"], counts: Bool[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
    """The mean of each row over the places that count; 0 where none does."""
    return values.masked_fill(~counts, 0).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def spread(x: Float[Tensor, "batch n dim"], counts: Bool[Tensor, "batch n"]
           ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
    """Of vectors of unit mean square, in each row: the standard deviation of every number, and the mean cosine of the vectors
    with their mean. If the vectors of a row have collapsed to one, they are 0 and 1.
    """
    n = counts.sum(dim=1, keepdim=True).clamp(min=1)
    kept = x.masked_fill(~counts[..., None], 0)
    mean = kept.sum(dim=1) / n
    std = (((x - mean[:, None]).masked_fill(~counts[..., None], 0).square().sum(dim=1) / n) + 1e-6).sqrt()
    cosine = F.cosine_similarity(x, mean[:, None], dim=-1)
    return std, mean_of_row(cosine, counts)


def next_hashes(tokens: Int[Tensor, "batch seq"], where: Layout, rows: int) -> Int[Tensor, "batch patch"]:
    """For each patch, a hash from 0 to rows - 1 of the tokens of the next patch."""
    powers, inverse = (torch.full_like(tokens[0], base).cumprod(0) for base in (BASE, INVERSE))
    sums = ((tokens + 1) * powers).cumsum(1)
    here, there = where.end, shifted(where.end)
    hashed = (take(sums, there) - take(sums, here)) * inverse[here]
    mixed = (hashed ^ (hashed >> 32)) * MIX
    return ((mixed >> 33) & 0x7FFFFFFF) % rows
