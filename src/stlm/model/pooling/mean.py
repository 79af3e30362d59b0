"""The mean of the vectors of a patch's bytes (dynamic token pooling, Nawrot et al. 2023, arXiv 2211.09761)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from stlm.model.layout import Layout, means
from stlm.model.pooling import Pooling, PoolingConfig


@dataclasses.dataclass(frozen=True)
class Config(PoolingConfig):
    """The mean of the vectors in the patch."""

    def build(self, dim: int) -> Mean:
        return Mean()


class Mean(Pooling):
    def forward(self, x: Float[Tensor, "batch byte dim"], layout: Layout) -> Float[Tensor, "batch patch dim"]:
        return means(x, layout.patch_of_byte, layout.n_patches)
