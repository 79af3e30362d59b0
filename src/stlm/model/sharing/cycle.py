"""The trunk runs through all blocks several times: A B A B (Universal Transformer, Dehghani et al. 2018, arXiv 1807.03819;
CYCLE in Takase and Kiyono 2021, arXiv 2104.06022).
"""

from __future__ import annotations

import dataclasses

from stlm.config.bounds import Layers
from stlm.model.sharing import LoopsConfig
from stlm.nn.block import BlockConfig


@dataclasses.dataclass(frozen=True)
class Config(LoopsConfig):
    """The trunk goes through its blocks several times: A B A B."""

    loops: Layers = 2
    """How many times the trunk goes through its blocks."""

    def check(self, layers: int, block: BlockConfig) -> None:
        if layers % self.loops:
            raise ValueError(f"sharing = cycle: layers = {layers} has to be a multiple of loops = {self.loops}")

    def owners(self, layers: int) -> list[int]:
        return [layer % (layers // self.loops) for layer in range(layers)]
