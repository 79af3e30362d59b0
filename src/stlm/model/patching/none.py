"""Every symbol is a patch of its own: flat bytes, or an ordinary BPE model."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.patching import Cut, Patching, PatchingConfig
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """No pooling: the trunk reads every symbol."""

    def build(self, codec: Codec, dim: int) -> Everywhere:
        return Everywhere()


class Everywhere(Patching):
    every_symbol = True

    def forward(self, symbols: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Cut:
        return Cut(torch.ones_like(symbols, dtype=torch.bool))
