"""Patches of a fixed number of tokens (MegaByte, Yu et al. 2023, arXiv 2305.07185)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from stlm.config.bounds import Size
from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """Patches of a fixed size, counted from the start of each document."""

    stride: Size = 4
    """Number of tokens in a patch."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Stride:
        return Stride(self.stride)


class Stride(Patching):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Memory | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        return Boundaries(positions % self.stride == 0)
