"""The last byte of a patch stands for it; the causal encoder has already mixed the earlier ones in (SpaceByte)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from stlm.model.layout import Layout
from stlm.model.pooling import Pooling, PoolingConfig


@dataclasses.dataclass(frozen=True)
class Config(PoolingConfig):
    """The vector of the last byte in the patch."""

    def build(self, dim: int) -> Last:
        return Last()


class Last(Pooling):
    needs_whole_patch = False

    def forward(self, x: Float[Tensor, "batch byte dim"], layout: Layout) -> Float[Tensor, "batch patch dim"]:
        return layout.at_ends(x)
