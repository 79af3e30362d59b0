"""Every layer processes every patch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stlm.model.depth import DepthConfig
from stlm.nn.stack import Block, Stack


@dataclasses.dataclass(frozen=True)
class Config(DepthConfig):
    """All layers process all patches."""

    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        return Stack(blocks)
