"""A patch every few symbols (MegaByte, Yu et al. 2023, arXiv 2305.07185)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Bool, Int
from torch import Tensor

from stlm.model.patching import Patching, PatchingConfig
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """Patches of a fixed size, counted from the start of each document."""

    stride: int = 4
    """Symbols in a patch."""

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError("stride has to be 1 or more")

    def build(self, codec: Codec) -> Stride:
        return Stride(self.stride)


class Stride(Patching):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, symbols: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                state: Int[Tensor, "batch state"] | None = None
                ) -> tuple[Bool[Tensor, "batch seq"], Int[Tensor, "batch seq state"]]:
        return positions % self.stride == 0, symbols.new_empty(*symbols.shape, 0)
