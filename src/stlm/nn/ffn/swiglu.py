"""Gated SiLU (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Ratio
from stlm.nn.ffn import FeedForwardConfig, hidden_width
from stlm.nn.weights import linear


@dataclasses.dataclass(frozen=True)
class Config(FeedForwardConfig):
    """Gated SiLU: ``down(silu(gate(x)) * up(x))``."""

    ratio: Ratio = 8 / 3
    """Hidden width, as a multiple of the layer's width. 8/3 gives as many parameters as 4 does with ``relu2``."""

    def build(self, dim: int) -> SwiGLU:
        return SwiGLU(dim, hidden_width(dim, self.ratio))


class SwiGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = linear(dim, 2 * hidden)
        self.down = linear(hidden, dim, zero=True)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
