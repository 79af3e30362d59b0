"""A gated causal convolution as a block: a short filter for each channel, then a gated feed-forward layer.

It is the mixer of gated convolution models (Dauphin et al. 2017, arXiv 1612.08083; Poli et al. 2023, arXiv 2302.10866) with a
filter of a few bytes. The filter comes before the layer that widens vectors, because it costs least there.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Range, Ratio
from stlm.nn.block import BlockConfig
from stlm.nn.memory import KV
from stlm.nn.norm import RMSNorm
from stlm.nn.stack import NOTHING, Block
from stlm.nn.weights import linear


@dataclasses.dataclass(frozen=True)
class Config(BlockConfig):
    """A short causal filter for each channel, then a gated layer: ``out(silu(a(y)) * b(y))``."""

    kernel_size: Annotated[int, Range(1, 4096)] = 4
    """Number of positions that a position sees in one block, itself included."""
    ratio: Ratio = 2.0
    """Width inside the block, as a multiple of its outer width."""

    def build(self, dim: int) -> ConvBlock:
        return ConvBlock(dim, max(1, round(dim * self.ratio)), self.kernel_size)


class ConvBlock(Block[Tensor]):
    def __init__(self, dim: int, hidden: int, kernel_size: int) -> None:
        super().__init__()
        self.lookback = kernel_size - 1
        self.norm = RMSNorm(dim)
        # Entry 0 of the kernel is for the position itself. The random start gives each channel another filter.
        self.filter = nn.Parameter(torch.randn(kernel_size, dim) * kernel_size**-0.5)
        self.gate_up, self.down = linear(dim, 2 * hidden), linear(hidden, dim, zero=True)

    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"],
             dtype: torch.dtype) -> Float[Tensor, "batch seq kernel"]:
        """For each entry of the kernel, 1 where its position is in the same document, 0 elsewhere."""
        padded = _with_lookback(segment_ids, self.lookback, positions.shape[1], empty=NOTHING)
        seen = padded.unfold(1, self.lookback + 1, 1).flip(2) == padded[:, self.lookback:, None]
        return seen.to(dtype)

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Float[Tensor, "batch seq kernel"],
                past: KV | None) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        seq, signal = x.shape[1], self.norm(x)
        padded = _with_lookback(signal if past is None else torch.cat([past[0], signal], dim=1), self.lookback, seq)
        kernel = self.filter.to(signal.dtype)
        if seq == 1:  # one step of decoding, in as few calls as possible
            filtered = (padded.flip(1) * context.mT * kernel).sum(dim=1, keepdim=True)
            return self._gated(x, filtered), (signal,)
        filtered = signal * kernel[0]
        for back in range(1, self.lookback + 1):
            earlier = padded[:, self.lookback - back: self.lookback - back + seq]
            filtered = torch.addcmul(filtered, earlier * context[..., back:back + 1], kernel[back])
        return self._gated(x, filtered), (signal,)

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Float[Tensor, "batch seq kernel"],
              past: KV | None) -> KV:
        return (self.norm(x),)

    def _gated(self, x: Float[Tensor, "batch seq dim"], filtered: Float[Tensor, "batch seq dim"]
               ) -> Float[Tensor, "batch seq dim"]:
        gate, up = self.gate_up(filtered).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def _with_lookback(x: Tensor, lookback: int, seq: int, empty: int = 0) -> Tensor:
    """The last ``seq`` entries of ``x`` [batch, n, ...] and ``lookback`` entries before them. Missing entries are ``empty``."""
    missing = lookback + seq - x.shape[1]
    if missing > 0:
        x = F.pad(x, (*[0] * (2 * (x.dim() - 2)), missing, 0), value=empty)
    return x[:, x.shape[1] - lookback - seq:]
