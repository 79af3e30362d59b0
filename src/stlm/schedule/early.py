"""1 at the start, then 0: for what helps only early, such as dropout (Liu et al. 2023, arXiv 2303.01500; for language models
Hillier et al. 2024, arXiv 2409.05423).
"""

from __future__ import annotations

import dataclasses

from stlm.config.bounds import Share
from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """1 for the first share, then down to 0, at once or in a straight line."""

    until: Share = 0.25
    """Share of the change in which the factor is 1."""
    fall: Share = 0.0
    """Share of the change over which it then falls to 0 in a straight line. 0: at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.until + self.fall > 1:
            raise ValueError(f"until = {self.until:g} and fall = {self.fall:g} have to be at most 1 together")

    def factor(self, remaining: float) -> float:
        over = 1 - remaining - self.until  # the share that has passed since the fall began
        if over < 0:
            return 1.0
        return max(0.0, 1 - over / self.fall) if self.fall else 0.0
