"""Squared ReLU (So et al. 2021, Primer, arXiv 2109.08668)."""

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
    """Squared ReLU: ``down(relu(up(x))^2)``."""

    ratio: Ratio = 4.0
    """Hidden width, as a multiple of the layer's width."""

    def build(self, dim: int) -> SquaredReLU:
        return SquaredReLU(dim, hidden_width(dim, self.ratio))


class SquaredReLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = linear(dim, hidden)
        self.down = linear(hidden, dim, zero=True)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.down(F.relu(self.up(x)).square())
