"""Rotary positions (Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

Rotation = tuple[Float[Tensor, "batch 1 seq half"], Float[Tensor, "batch 1 seq half"]]


def rotation(positions: Int[Tensor, "batch seq"], head_dim: int, base: float, dtype: torch.dtype) -> Rotation:
    """Cosines and sines of every position, for ``head_dim`` dimensions. They are computed in each call, so positions have no
    upper limit.
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    steps = torch.arange(0, head_dim, 2, device=positions.device, dtype=exact) / head_dim
    angle = positions[:, None, :, None].to(exact) * base**-steps
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Float[Tensor, "batch heads seq dim"], by: Rotation) -> Float[Tensor, "batch heads seq dim"]:
    """Rotate the two halves of each head against each other. If ``by`` is for fewer dimensions, the last ones stay."""
    cos, sin = by
    half, rest = cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]
    left, right, *still = x.split([half, half, *([rest] if rest else [])], dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin, *still], dim=-1)
