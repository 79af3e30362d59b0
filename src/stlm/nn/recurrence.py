"""A linear recurrence over a whole row at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def recurrence(kept: Float[Tensor, "batch n"], x: Float[Tensor, "batch n *rest"]) -> Float[Tensor, "batch n *rest"]:
    """``y_t = x_t + kept_t y_{t-1}`` with ``y_0 = x_0``: sums of neighbours, of pairs of them, and so on, in log n steps
    (Hillis and Steele 1986). It is as exact as one step after the other, and no loop runs over places.
    """
    kept, reach = kept.reshape(*kept.shape, *[1] * (x.dim() - 2)).to(x.dtype), 1
    while reach < x.shape[1]:
        x = torch.cat([x[:, :reach], x[:, reach:] + kept[:, reach:] * x[:, :-reach]], dim=1)
        kept = torch.cat([kept[:, :reach], kept[:, reach:] * kept[:, :-reach]], dim=1)
        reach *= 2
    return x
