"""From 0 up to 1 in the middle and back to 0 in two straight lines (for dropout: Hillier et al. 2024, arXiv 2409.05423). As a
learning rate over a whole run it is one cycle (Smith 2017, arXiv 1506.01186).
"""

from __future__ import annotations

import dataclasses

from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """Up from 0 to 1 in the middle, and back to 0."""

    def factor(self, remaining: float) -> float:
        return 1 - abs(1 - 2 * remaining)
