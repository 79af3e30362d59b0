"""Attention over the bytes of a patch. The last byte gives the query, and all bytes give keys and values (BLT, Pagnoni et al.
2024, arXiv 2412.09871, section 3.2; there the queries are pooled from the bytes).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stlm.config.bounds import Size
from stlm.model.layout import Layout, take
from stlm.model.pooling import Pooling, PoolingConfig
from stlm.nn.block import check_multiple
from stlm.nn.norm import rms_norm
from stlm.nn.weights import linear


@dataclasses.dataclass(frozen=True)
class Config(PoolingConfig):
    """The last byte attends to all bytes of the patch, and the result is added to it."""

    heads: Size = 4
    """Number of attention heads."""

    def check(self, model: Any) -> None:
        if model.patching.every_token:
            raise ValueError("pooling = attention pools several tokens, but with patching = none each token is a patch; "
                             "choose pooling = last")
        try:
            check_multiple(model.local_dim, self.heads, self.heads)
        except ValueError as error:
            raise ValueError(f"pooling = attention: local_dim = {error}") from None

    def build(self, dim: int) -> Attention:
        return Attention(dim, self.heads)


class Attention(Pooling):
    """Queries and keys have unit norm, so scores are bounded, and the softmax need not subtract the maximum."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.out = linear(dim, dim), linear(dim, 2 * dim), linear(dim, dim, zero=True)

    def forward(self, x: Float[Tensor, "batch byte dim"], layout: Layout) -> Float[Tensor, "batch patch dim"]:
        last, index = layout.at_ends(x), layout.patch_of_byte
        query = rms_norm(self.query(last).unflatten(-1, (self.heads, -1)))
        key, value = self.key_value(x).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        queries = take(torch.cat([query, torch.zeros_like(query[:, :1])], dim=1), index)  # zeros for bytes of no patch
        weight = ((queries * rms_norm(key)).sum(-1, keepdim=True) * key.shape[-1]**-0.5).exp().to(value.dtype)
        room = (len(x), layout.n_patches + 1, self.heads)
        total = value.new_zeros(*room, value.shape[-1]).scatter_add(1, index[..., None, None].expand_as(value), weight * value)
        weights = value.new_zeros(*room, 1).scatter_add(1, index[..., None, None].expand_as(weight), weight)
        mixed = total[:, :-1] / weights[:, :-1].clamp(min=torch.finfo(value.dtype).tiny)
        return last + self.out(mixed.flatten(-2))
