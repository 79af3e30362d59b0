"""Some layers take only the patches that need them most: mixture of depths (Raposo et al. 2024, arXiv 2404.02258).

In training a router ranks the patches of a row, and the layer takes the first so many; what it adds is weighed by the router,
so that the router learns. A rank can't be known while writing, when later patches aren't there yet: a second router learns to
tell from a patch alone whether it was among the first, and decides in use. So in training a patch's rank depends on later ones,
as the authors have it; in use nothing does.

With ``sharing = cycle``, ``span`` = the layers of a loop, ``every`` = 1 and ``nested``, patches go through the loop as often as
they need: mixture of recursions (Bae et al. 2025, arXiv 2507.10524).
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

from stlm.model.depth import DepthConfig
from stlm.nn.norm import rms_norm
from stlm.nn.sparse import SparseStack, refuse_bidirectional, valid_mask
from stlm.nn.stack import Block, Stack, StackCache, StackOutput
from stlm.nn.weights import Linear


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """Some layers process only some of the patches."""

    capacity: float = 0.5
    """Share of the patches that these layers process."""
    every: int = 2
    """Of this many groups of layers, the last processes only some patches. The first group processes all of them."""
    span: int = 1
    """Number of layers in a group. A patch goes through all of them or none."""
    nested: bool = False
    """Let a group choose only among the patches that the last such group processed."""
    aux_weight: float = 0.1
    """Weight of the loss of the router that decides after training."""

    def __post_init__(self) -> None:
        if not 0 < self.capacity <= 1 or self.every < 1 or self.span < 1 or self.aux_weight < 0:
            raise ValueError("capacity has to be above 0 and at most 1, every and span 1 or more, aux_weight 0 or more")

    def check(self, model: Any) -> None:
        if model.layers % self.span:
            raise ValueError(f"depth = mixture: layers = {model.layers} has to be a multiple of span = {self.span}")

    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        return Mixture(blocks, dim, self)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Who is taken; gate: how much what's added to them counts; room: how many are taken of a row at most, where that's known.
    In training, loss: of the router that decides in use; in_use: the share that it would take.
    """

    chosen: Bool[Tensor, "batch seq"]
    gate: Float[Tensor, "batch seq"]
    room: int | None
    loss: Float[Tensor, ""]
    in_use: Float[Tensor, ""]


class Mixture(SparseStack):
    def __init__(self, blocks: Sequence[Block], dim: int, config: Config) -> None:
        super().__init__(blocks)
        self.capacity, self.span, self.nested, self.aux_weight = config.capacity, config.span, config.nested, config.aux_weight
        self.routed = [span for span in range(1, len(blocks) // config.span) if span % config.every == config.every - 1]
        self.routers = nn.ModuleDict({str(span): Linear(dim, 1, bias=True) for span in self.routed})
        self.guesses = nn.ModuleDict({str(span): Linear(dim, 1, bias=True) for span in self.routed})

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: bool = False) -> StackOutput:
        refuse_bidirectional(bidirectional, "mixture")
        context = None if cache is not None else self._context(x, segment_ids, positions, None)
        allowed, choices, selection = valid_mask(segment_ids, lengths), list[Choice](), None
        for depth in range(self.active):
            span, place = divmod(depth, self.span)
            if span not in self.routed:
                x = self.run_all(depth, x, segment_ids, positions, context, cache, lengths)
                continue
            if place == 0:
                choices.append(self._choose(span, x, allowed))
                selection = self.select(segment_ids, positions, choices[-1].chosen, choices[-1].room)
                allowed = choices[-1].chosen if self.nested else allowed
            if selection is not None:
                x = x + choices[-1].gate[..., None] * self.residual(depth, x, selection, cache)
        if not self.training or not choices:
            return StackOutput(x)
        router = self.aux_weight * torch.stack([choice.loss for choice in choices]).mean()
        in_use = torch.stack([choice.in_use for choice in choices]).mean()
        return StackOutput(x, aux_losses={"router": router}, metrics={"taken in use": in_use})

    def _choose(self, span: int, x: Float[Tensor, "batch seq dim"], allowed: Bool[Tensor, "batch seq"]) -> Choice:
        seen = rms_norm(x)
        score = self.routers[str(span)](seen)[..., 0]
        guess = self.guesses[str(span)](seen.detach())[..., 0]
        in_use = allowed & (guess > 0)
        if not self.training:
            nothing = score.new_zeros(())
            return Choice(in_use, score.sigmoid(), None, nothing, nothing)
        rank = score.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
        most = (self.capacity * allowed.sum(dim=1, keepdim=True)).ceil()
        chosen, n = allowed & (rank < most), allowed.sum().clamp(min=1)
        wrong = F.binary_cross_entropy_with_logits(guess.float(), chosen.float(), reduction="none")
        return Choice(chosen, score.sigmoid(), min(x.shape[1], math.ceil(self.capacity * x.shape[1]) + 1),
                      (wrong * allowed).sum() / n, in_use.sum() / n)
