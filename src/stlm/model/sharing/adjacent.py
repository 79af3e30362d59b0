"""Neighbouring layers share a block: A A B B (MobileLLM, Liu et al. 2024, arXiv 2402.14905, section 2.3; SEQUENCE in Takase and
Kiyono 2021, arXiv 2104.06022).
"""

from __future__ import annotations

import dataclasses

from stlm.config.bounds import Layers
from stlm.model.sharing import BlocksConfig
from stlm.nn.block import BlockConfig


@dataclasses.dataclass(frozen=True)
class Config(BlocksConfig):
    """Neighbouring layers use the same block: A A B B."""

    repeat: Layers = 2
    """Number of neighbouring layers that use the same block."""

    def check(self, layers: int, block: BlockConfig) -> None:
        if layers % self.repeat:
            raise ValueError(f"sharing = adjacent: layers = {layers} has to be a multiple of repeat = {self.repeat}")

    def owners(self, layers: int) -> list[int]:
        return [layer // self.repeat for layer in range(layers)]
