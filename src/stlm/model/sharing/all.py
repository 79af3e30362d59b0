"""One block for all layers (ALBERT, Lan et al. 2019, arXiv 1909.11942)."""

from __future__ import annotations

import dataclasses

from stlm.model.sharing import LoopsConfig


@dataclasses.dataclass(frozen=True)
class Config(LoopsConfig):
    """All layers use the same block."""

    def owners(self, layers: int) -> list[int]:
        return [0] * layers
