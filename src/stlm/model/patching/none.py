"""Every symbol is a patch of its own: flat bytes, or an ordinary BPE model."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from stlm.model.patching import Patching, PatchingConfig
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """No pooling: the trunk reads every symbol."""

    def build(self, codec: Codec) -> Everywhere:
        return Everywhere()


class Everywhere(Patching):
    every_symbol = True

    def forward(self, symbols: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                state: Int[Tensor, "batch state"] | None = None
                ) -> tuple[Bool[Tensor, "batch seq"], Int[Tensor, "batch seq state"]]:
        return torch.ones_like(symbols, dtype=torch.bool), symbols.new_empty(*symbols.shape, 0)
