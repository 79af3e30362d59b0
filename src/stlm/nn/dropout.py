"""Dropout whose draws belong to rows (Srivastava et al. 2014).

What is dropped is a hash of the row's own key, of the place in the row and of the part of the model. So a row is treated alike
however the rows of a step are split into micro-batches and processes, and a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

BITS = 23  # of a draw
ODD = (0x3C6EF373, 0x1B873593, 0x2C1B3C6D, 0x297A2D39, 0x5851F42D)  # a factor for each axis after the first


class Noise(nn.Module):
    """What all dropouts of a model share. keys: one for each row. factor: it multiplies all rates; ``factor_at`` gives it for a
    share of training that is over.
    """

    factor: Tensor

    def __init__(self, factor_at: Callable[[float], float]) -> None:
        super().__init__()
        self._factor_at = factor_at
        # a tensor, because compiled code is compiled anew when a number in Python changes
        self.register_buffer("factor", torch.tensor(1.0), persistent=False)
        self.keys: Tensor | None = None

    def set_progress(self, progress: float) -> None:
        """Set the share of training that is over, 0 to 1."""
        self.factor.fill_(self._factor_at(progress))

    def begin(self, rows: Int[Tensor, " batch"] | None, batch: int) -> None:
        """Before a forward pass: ``rows`` are different numbers of the rows. Without, they are drawn."""
        if rows is None:
            rows = torch.randint(1 << 30, (1,), device=self.factor.device) + torch.arange(batch, device=self.factor.device)
        self.keys = rows.to(torch.int32) * 0x632BE5AB

    def kept(self, shape: torch.Size, rate: float, salt: int) -> Bool[Tensor, ...]:
        """True with the probability 1 - rate * factor, at each place of a tensor whose first axis is that of the rows."""
        assert self.keys is not None
        n_axes = len(shape)
        x = (self.keys + salt).view(-1, *[1] * (n_axes - 1))
        for axis, odd in zip(range(1, n_axes), ODD, strict=False):
            places = torch.arange(shape[axis], device=x.device, dtype=torch.int32) * odd
            x = x + places.view(-1, *[1] * (n_axes - axis - 1))
        x = (x ^ (x >> 16)) * 0x7FEB352D
        x = (x ^ (x >> 15)) * 0x46CA68B5
        x = (x ^ (x >> 16)) & ((1 << BITS) - 1)
        return x >= (rate * self.factor * (1 << BITS)).to(torch.int32)


class Dropout(nn.Module):
    """Set numbers to zero with the probability ``rate`` times the noise's factor, and scale up the others. site: the name of
    the part, unlike those of others. whole: all numbers of a row together (stochastic depth, Huang et al. 2016, arXiv
    1603.09382).
    """

    def __init__(self, noise: Noise, rate: float, site: str, whole: bool = False) -> None:
        super().__init__()
        self.noise, self.rate, self.whole = noise, rate, whole
        self.salt = zlib.crc32(site.encode()) & 0x7FFFFFFF

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        shape = torch.Size([len(x), *[1] * (x.dim() - 1)]) if self.whole else x.shape
        kept = self.noise.kept(shape, self.rate, self.salt)
        return torch.where(kept, x / (1 - self.rate * self.noise.factor).to(x.dtype), 0.0)
