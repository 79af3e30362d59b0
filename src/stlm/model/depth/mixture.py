"""Some layers process only selected patches: mixture of depths (Raposo et al. 2024, arXiv 2404.02258).

In training a router scores the patches of a row, and the layer processes those with the highest scores. What the layer adds is
multiplied by the router's output, so that the router has a gradient. In decoding this ranking is impossible, because later
patches don't exist yet. So a second router learns to predict from each patch alone whether it is selected, and this router
decides after training. In training the selection of a patch depends on later patches, as in the paper; after training it
doesn't.

With ``sharing = cycle``, ``span`` = the layers of a loop, ``every`` = 1 and ``nested``, each patch runs through the loop a
number of times that depends on the patch: mixture of recursions (Bae et al. 2025, arXiv 2507.10524).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Layers, ShareAboveZero, Weight
from stlm.model.depth import DepthConfig
from stlm.nn.norm import rms_norm
from stlm.nn.sparse import SparseStack, valid_mask
from stlm.nn.stack import Block, Hashes, RowMask, Stack, StackCache, StackOutput
from stlm.nn.weights import Linear


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """Some layers process only some of the patches."""

    capacity: ShareAboveZero = 0.5
    """Share of the patches that these layers process."""
    every: Layers = 2
    """Of this many groups of layers, the last processes only some patches. The first group processes all of them."""
    span: Layers = 1
    """Number of layers in a group. A patch goes through all of them or none."""
    nested: bool = False
    """Let a group choose only among the patches that the last such group processed."""
    aux_weight: Weight = 0.1
    """Weight of the loss of the router that decides after training."""

    def check(self, model: Any) -> None:
        if model.layers % self.span:
            raise ValueError(f"depth = mixture: layers = {model.layers} has to be a multiple of span = {self.span}")

    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        return Mixture(blocks, dim, self)


@dataclasses.dataclass(frozen=True)
class Choice:
    """chosen: the selected patches; gate: the factor of what the layer adds; room: the largest number of selected patches in a
    row, None if it isn't known. Only in training, for each row: loss: the loss of the second router; in_use: the share of
    patches that it selects.
    """

    chosen: Bool[Tensor, "batch seq"]
    gate: Float[Tensor, "batch seq"]
    room: int | None
    loss: Float[Tensor, " batch"]
    in_use: Float[Tensor, " batch"]


class Mixture(SparseStack):
    def __init__(self, blocks: Sequence[Block], dim: int, config: Config) -> None:
        super().__init__(blocks)
        self.capacity, self.span, self.nested, self.aux_weight = config.capacity, config.span, config.nested, config.aux_weight
        self.routed = [span for span in range(1, len(blocks) // config.span) if span % config.every == config.every - 1]
        self.routers = nn.ModuleDict({str(span): Linear(dim, 1, bias=True) for span in self.routed})
        self.guesses = nn.ModuleDict({str(span): Linear(dim, 1, bias=True) for span in self.routed})

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        context = None if cache is not None else self._context(x, segment_ids, positions, None)
        choices: list[Choice] = []
        allowed, selection = valid_mask(segment_ids, lengths), None
        for depth in range(self.active):
            span, layer_in_span = divmod(depth, self.span)
            if span not in self.routed:
                x = self.run_all(depth, x, segment_ids, positions, context, cache, lengths)
                continue
            if layer_in_span == 0:
                choices.append(self._choose(span, x, allowed))
                selection = self.select(segment_ids, positions, choices[-1].chosen, choices[-1].room)
                allowed = choices[-1].chosen if self.nested else allowed
            if selection is not None:
                x = x + choices[-1].gate[..., None] * self.residual(depth, x, selection, cache)
        if not self.training or not choices:
            return StackOutput(x)
        router = self.aux_weight * torch.stack([choice.loss for choice in choices]).mean(dim=0)
        in_use = torch.stack([choice.in_use for choice in choices]).mean(dim=0)
        return StackOutput(x, aux_losses={"router": router}, metrics={"share selected in use": in_use})

    def _choose(self, span: int, x: Float[Tensor, "batch seq dim"], allowed: Bool[Tensor, "batch seq"]) -> Choice:
        normed = rms_norm(x)
        score = self.routers[str(span)](normed)[..., 0]
        guess = self.guesses[str(span)](normed.detach())[..., 0]
        in_use = allowed & (guess > 0)
        if not self.training:
            nothing = score.new_zeros(len(score))
            return Choice(in_use, score.sigmoid(), None, nothing, nothing)
        rank = score.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
        limit = (self.capacity * allowed.sum(dim=1, keepdim=True)).ceil()
        chosen, n = allowed & (rank < limit), allowed.sum(dim=1).clamp(min=1)
        cross_entropy = F.binary_cross_entropy_with_logits(guess.float(), chosen.float(), reduction="none")
        return Choice(chosen, score.sigmoid(), min(x.shape[1], math.ceil(self.capacity * x.shape[1]) + 1),
                      (cross_entropy * allowed).sum(dim=1) / n, in_use.sum(dim=1) / n)
