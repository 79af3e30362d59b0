"""One block for all layers (ALBERT, Lan et al. 2019, arXiv 1909.11942)."""

from __future__ import annotations

import dataclasses

from stlm.model.sharing import BlocksConfig


@dataclasses.dataclass(frozen=True)
class Config(BlocksConfig):
    """Every layer is the same block."""

    late: float = 0.0
    """First share of training in which it's used once only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.late < 1:
            raise ValueError("late has to be 0 or more, and below 1")

    def owners(self, layers: int) -> list[int]:
        return [0] * layers

    def layers_at(self, fraction: float, layers: int) -> int:
        return 1 if fraction < self.late else layers
