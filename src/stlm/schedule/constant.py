"""No change: the factor is always 1."""

from __future__ import annotations

import dataclasses

from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """No change."""

    def factor(self, remaining: float) -> float:
        return 1.0
