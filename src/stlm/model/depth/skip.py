"""Patches skip layers: each layer has a gate that decides for each patch (SkipNet, Wang et al. 2018, arXiv 1711.09485). The
gates learn with straight-through gradients (Bengio et al. 2013, arXiv 1308.3432).

A gate reads its patch only, so it decides in the same way in training and after it. A layer doesn't see the patches that skip
it. A loss moves the share of layers that run in a row to a target. It is counted from the gates' decisions. The first layer is
never skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.bounds import ShareAboveZero, Weight
from stlm.model.depth import DepthConfig
from stlm.nn.norm import rms_norm
from stlm.nn.sparse import SparseStack, valid_mask
from stlm.nn.stack import Block, Hashes, RowMask, Stack, StackCache, StackOutput
from stlm.nn.weights import Linear


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """A learned gate lets each patch skip layers."""

    target: ShareAboveZero = 0.7
    """Share of the layers after the first that a patch goes through on average; training aims for it."""
    aux_weight: Weight = 1.0
    """Weight of the loss that moves this share to ``target``."""

    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        return Skip(blocks, dim, self)


class Skip(SparseStack):
    flops_change = True

    def __init__(self, blocks: Sequence[Block], dim: int, config: Config) -> None:
        super().__init__(blocks)
        self.target, self.aux_weight = config.target, config.aux_weight
        self.gates = nn.ModuleList(Linear(dim, 1, bias=True) for _ in range(len(blocks) - 1))
        for gate in self.gates:  # at the start, nearly all patches run through all layers
            nn.init.constant_(gate.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "batch seq dim"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], cache: StackCache | None = None,
                lengths: Int[Tensor, " batch"] | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        context = None if cache is not None else self._context(x, segment_ids, positions, None)
        x = self.run_all(0, x, segment_ids, positions, context, cache, lengths)
        valid, shares = valid_mask(segment_ids, lengths), list[Tensor]()
        for depth in range(1, self.active):
            prob = self.gates[depth - 1](rms_norm(x))[..., 0].sigmoid()
            gradient, selected = prob - prob.detach(), valid & (prob > 0.5)
            if (selection := self.select(segment_ids, positions, selected)) is not None:
                x = x + (1 + gradient)[..., None] * self.residual(depth, x, selection, cache)
            shares.append(((selected + gradient) * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1))
        if not self.training or not shares:
            return StackOutput(x)
        share = torch.stack(shares).mean(dim=0)
        return StackOutput(x, aux_losses={"gates": self.aux_weight * (share - self.target).square()},
                           metrics={"share run": share.detach()})
