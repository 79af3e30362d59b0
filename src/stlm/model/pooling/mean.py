"""The mean of the vectors of a patch's bytes (dynamic token pooling, Nawrot et al. 2023, arXiv 2211.09761)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from stlm.model.layout import Layout
from stlm.model.pooling import Pooling, PoolingConfig


@dataclasses.dataclass(frozen=True)
class Config(PoolingConfig):
    """The mean of the vectors in the patch."""

    def build(self, dim: int) -> Mean:
        return Mean()


class Mean(Pooling):
    def forward(self, x: Float[Tensor, "batch byte dim"], layout: Layout) -> Float[Tensor, "batch patch dim"]:
        batch, _, dim = x.shape
        index = layout.patch_of_byte
        total = x.new_zeros(batch, layout.n_patches + 1, dim).scatter_add(1, index[..., None].expand_as(x), x)
        count = x.new_zeros(batch, layout.n_patches + 1).scatter_add(1, index, torch.ones_like(x[..., 0]))
        return total[:, :-1] / count[:, :-1, None].clamp(min=1)
