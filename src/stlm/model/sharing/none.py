"""Each layer has its own weights."""

from __future__ import annotations

import dataclasses

from stlm.model.sharing import SharingConfig
from stlm.nn.block import BlockConfig
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class Config(SharingConfig):
    """Each layer has its own weights."""

    def build(self, block: BlockConfig, dim: int, layers: int) -> list[Block]:
        return [block.build(dim) for _ in range(layers)]
