"""A gated causal convolution as a local block: a short filter a channel, then a gated feed-forward layer.

The mixer of gated convolution models (Dauphin et al. 2017, arXiv 1612.08083; Poli et al. 2023, arXiv 2302.10866) with
its filter cut to a few taps. The filter stands before the widening layer, where a tap costs least.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.nn.init import linear
from stlm.nn.local import LocalConfig
from stlm.nn.norm import RMSNorm
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class Config(LocalConfig):
    """``out(silu(a(y)) * b(y))`` where y is the input under a causal filter of a few taps a channel."""

    taps: int = 4
    """How many bytes a byte sees in one block, itself included."""
    ratio: float = 2.0
    """Width inside the block as a multiple of its outer width."""

    def __post_init__(self) -> None:
        if self.taps < 1:
            raise ValueError("taps has to be 1 or more")
        if self.ratio <= 0:
            raise ValueError("ratio has to be above 0")

    def build(self, dim: int) -> ConvBlock:
        return ConvBlock(dim, max(1, round(dim * self.ratio)), self.taps)


class ConvBlock(Block):
    def __init__(self, dim: int, hidden: int, taps: int) -> None:
        super().__init__()
        self.lookback = taps - 1
        self.norm = RMSNorm(dim)
        # tap 0 is the byte itself; channels start out differing in how much of the past they take in
        self.filter = nn.Parameter(torch.randn(taps, dim) * taps**-0.5)
        self.gate_up, self.down = linear(dim, 2 * hidden), linear(hidden, dim, zero=True)

    def view(self, documents: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"],
             dtype: torch.dtype) -> list[Float[Tensor, "batch seq 1"]]:
        """For each earlier tap, 1 where it falls into the same document and 0 elsewhere."""
        seq = positions.shape[1]
        padded = F.pad(documents, (max(0, self.lookback + seq - documents.shape[1]), 0), value=-1)
        end = padded.shape[1]
        here = padded[:, end - seq:]
        return [(padded[:, end - seq - back: end - back] == here)[..., None].to(dtype)
                for back in range(1, self.lookback + 1)]

    def forward(self, x: Float[Tensor, "batch seq dim"], view: list[Float[Tensor, "batch seq 1"]],
                past: tuple[Tensor, ...] | None) -> tuple[Float[Tensor, "batch seq dim"], tuple[Tensor, ...]]:
        seq, signal = x.shape[1], self.norm(x)
        padded = signal if past is None else torch.cat([past[0], signal], dim=1)
        padded = F.pad(padded, (0, 0, max(0, self.lookback + seq - padded.shape[1]), 0))
        end = padded.shape[1]
        taps = self.filter.to(signal.dtype)
        filtered = signal * taps[0]
        for back in range(1, self.lookback + 1):
            earlier = padded[:, end - seq - back: end - back]
            filtered = torch.addcmul(filtered, earlier * view[back - 1], taps[back])
        gate, up = self.gate_up(filtered).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), (signal,)
