"""A patch every few symbols (MegaByte, Yu et al. 2023, arXiv 2305.07185)."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.patching import Cut, Patching, PatchingConfig
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """Patches of a fixed size, counted from the start of each document."""

    stride: int = 4
    """Symbols in a patch."""

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError("stride has to be 1 or more")

    def build(self, codec: Codec, dim: int) -> Stride:
        return Stride(self.stride)


class Stride(Patching):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, symbols: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Cut:
        return Cut(positions % self.stride == 0)
