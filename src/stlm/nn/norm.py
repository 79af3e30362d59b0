"""Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.nn.weights import Role

EPS = 1e-5


def rms_norm(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """``x`` scaled to unit root mean square over its last axis."""
    return F.rms_norm(x, (x.shape[-1],), eps=EPS)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned gain."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.roles = {"gain": Role.NORM}
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return F.rms_norm(x, (x.shape[-1],), self.gain.to(x.dtype), EPS)
