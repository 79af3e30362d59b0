"""One minus a square root: a steep fall that flattens out (Hägele et al. 2024, arXiv 2405.18392, section 3)."""

from __future__ import annotations

import dataclasses
import math

from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """One minus the square root of what is over: a steep fall that flattens out."""

    def factor(self, remaining: float) -> float:
        return 1 - math.sqrt(1 - remaining)
