"""The patches of a batch, for objectives about patches."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.data.batch import Batch
from stlm.model.hashing import mixed, prefix_sums
from stlm.model.layout import Layout, layout, segment_positions, take
from stlm.model.lm import LM
from stlm.model.loss import figure
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.nn.norm import rms_norm
from stlm.nn.weights import linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Patches:
    """states: the trunk's output for each patch. where: which byte is in which patch. exists: which patches there are, without
    those of padding. follows: which of them have a next one in the same document; none in rows that an objective has changed,
    because there the next one may be hidden or have been read already.
    """

    states: Float[Tensor, "batch patch dim"]
    where: Layout
    exists: Bool[Tensor, "batch patch"]
    follows: Bool[Tensor, "batch patch"]


def patches_of(model: LM, output: Output, batch: Batch) -> Patches:
    """The patches of a batch that the model has read."""
    segment_ids, _ = segment_positions(batch.inputs == model.bos)
    states = output.trunk.states
    where = layout(output.ends, segment_ids, states.shape[1])
    exists = where.exists & where.at_ends(batch.counted)
    return Patches(states, where, exists, followed(exists, where.at_ends(segment_ids)) & batch.unchanged[:, None])


def followed(exists: Bool[Tensor, "batch n"], owner: Int[Tensor, "batch n"]) -> Bool[Tensor, "batch n"]:
    """Which patches, or other pieces of text, have a next one in the same document. owner: their segment ids."""
    found = torch.zeros_like(exists)
    found[:, :-1] = exists[:, 1:] & (owner[:, 1:] == owner[:, :-1])
    return found


def trunk_width(tokenizer: Tokenizer, model: ModelConfig) -> int:
    """The width of the trunk's outputs in the form that bytes read."""
    return model.head.build(model.local_dim, tokenizer.vocab_size).trunk_dim


class Predictor(nn.Module):
    """From a state of ``dim`` numbers, and maybe ``given`` further numbers, a prediction of the next state, both with unit mean
    square. At first it is the state itself.
    """

    def __init__(self, dim: int, given: int = 0) -> None:
        super().__init__()
        self.state, self.out = linear(dim, 2 * dim), linear(2 * dim, dim, zero=True)
        self.given = linear(given, 2 * dim) if given else None

    def forward(self, state: Float[Tensor, "batch n dim"], given: Float[Tensor, "batch n more"] | None = None
                ) -> Float[Tensor, "batch n dim"]:
        hidden = self.state(state)
        if self.given is not None:
            hidden = hidden + self.given(given)
        return rms_norm(state + self.out(F.relu(hidden).square()))


def shifted(x: Tensor) -> Tensor:
    """``x`` [batch, n, ...] of the next patch; the last one's is zero."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def mean_of_row(values: Float[Tensor, "batch n"], counts: Bool[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
    """The mean of each row over the places that count; 0 where none does."""
    return values.masked_fill(~counts, 0).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def spread(x: Float[Tensor, "batch n dim"], counts: Bool[Tensor, "batch n"]
           ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, " batch"]]:
    """Of vectors of unit mean square, in each row: the standard deviation of every number, and the mean cosine of the vectors
    with their mean. If the vectors of a row have collapsed to one, they are 0 and 1. They say nothing of a row without two
    vectors; `of_several` leaves such rows out.
    """
    n = counts.sum(dim=1, keepdim=True).clamp(min=1)
    kept = x.masked_fill(~counts[..., None], 0)
    mean = kept.sum(dim=1) / n
    std = (((x - mean[:, None]).masked_fill(~counts[..., None], 0).square().sum(dim=1) / n) + 1e-6).sqrt()
    cosine = F.cosine_similarity(x, mean[:, None], dim=-1)
    return std, mean_of_row(cosine, counts)


def of_several(values: Float[Tensor, " batch"], counts: Bool[Tensor, "batch n"]) -> tuple[Tensor, Tensor]:
    """A figure that has a value for each row, over the rows in which two or more places count."""
    several = counts.sum(dim=1) > 1
    return figure((values * several).sum(), several.sum())


def next_hashes(tokens: Int[Tensor, "batch seq"], where: Layout, rows: int) -> Int[Tensor, "batch patch"]:
    """For each patch, a hash from 0 to rows - 1 of the tokens of the next patch."""
    sums, inverse = prefix_sums(tokens)
    here, there = where.end, shifted(where.end)
    return mixed((take(sums, there) - take(sums, here)) * inverse[here]) % rows
