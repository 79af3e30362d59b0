"""The vector of a patch is that of its last byte. The causal encoder has already mixed in the earlier bytes (SpaceByte)."""

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
