"""A linear recurrence, computed over a whole row at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def recurrence(kept: Float[Tensor, "batch n"], x: Float[Tensor, "batch n *rest"]) -> Float[Tensor, "batch n *rest"]:
    """``y_t = x_t + kept_t y_{t-1}`` with ``y_0 = x_0``.

    A parallel scan computes it in log n steps instead of a loop over positions (Hillis and Steele 1986). It is as exact as the
    loop.
    """
    kept, reach = kept.reshape(*kept.shape, *[1] * (x.dim() - 2)).to(x.dtype), 1
    while reach < x.shape[1]:
        x = torch.cat([x[:, :reach], x[:, reach:] + kept[:, reach:] * x[:, :-reach]], dim=1)
        kept = torch.cat([kept[:, :reach], kept[:, reach:] * kept[:, :-reach]], dim=1)
        reach *= 2
    return x
