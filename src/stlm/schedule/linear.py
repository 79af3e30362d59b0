"""A linear decrease to zero."""

from __future__ import annotations

import dataclasses

from stlm.schedule import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class Config(ScheduleConfig):
    """A straight line."""

    def factor(self, remaining: float) -> float:
        return remaining
