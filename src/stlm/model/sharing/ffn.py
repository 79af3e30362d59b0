"""Layers share a feed-forward layer, and each has its own attention (One Wide Feedforward, Pires et al. 2023, arXiv
2309.01826).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from stlm.config.bounds import Layers, Ratio
from stlm.model.sharing import AdaptedConfig
from stlm.nn.block import BlockConfig
from stlm.nn.lora import AdaptedLayer
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class Config(AdaptedConfig):
    """Layers share a feed-forward layer. Each has its own attention."""

    groups: Layers = 1
    """Number of different feed-forward layers. Neighbouring layers share one."""
    widen: Ratio = 1.0
    """Make the shared feed-forward layers this many times wider."""

    def check(self, layers: int, block: BlockConfig) -> None:
        if not hasattr(block, "ffn"):
            raise ValueError(f"sharing = ffn: trunk = {block.kind} has no feed-forward layers to share; choose trunk = "
                             "attention or linear, or another sharing")
        if layers % self.groups:
            raise ValueError(f"sharing = ffn: layers = {layers} has to be a multiple of groups = {self.groups}")

    def build(self, block: BlockConfig, dim: int, layers: int) -> list[Block]:
        kind: Any = block
        wide = dataclasses.replace(kind, ffn=dataclasses.replace(kind.ffn, ratio=kind.ffn.ratio * self.widen))
        shared: list[nn.Module] = [wide.ffn.build(dim) for _ in range(self.groups)]
        blocks = [kind.build(dim) for _ in range(layers)]
        for layer, own in enumerate(blocks):
            one = shared[layer * self.groups // layers]
            own.ffn = AdaptedLayer(one, self.rank, self.own_norms, self.own_scales) if self.adapted else one
        return blocks
