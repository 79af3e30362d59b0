"""Half a wave of a cosine, from 1 to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)."""

from __future__ import annotations

import dataclasses
import math

from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """A cosine: slow, fast, slow."""

    def factor(self, remaining: float) -> float:
        return (1 - math.cos(math.pi * remaining)) / 2
