"""How a quantity changes in training. The slot ``schedule``; a kind is the shape of a decrease from 1 to 0.

Everything that changes in training depends on one number, the progress: 0 at the start and 1 at the end. It is measured in
steps, or in seconds if the length of the run is given in minutes.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(Slot):
    """The shape of a decrease from 1 to 0."""

    package: ClassVar[str] = "stlm.schedule"

    @abc.abstractmethod
    def factor(self, remaining: float) -> float:
        """The value, from 1 to 0. ``remaining``: the share of the decrease that is left, 1 before it begins and 0 at its end.
        """


def rate_factor(schedule: ScheduleConfig, step: int, progress: float, warmup: int, cooldown: float) -> float:
    """The learning rate of step ``step`` (from 0) as a multiple of its peak. It rises linearly over ``warmup`` steps, is
    constant, and falls by the schedule over the last share ``cooldown`` of the run (Hägele et al. 2024, arXiv 2405.18392).
    """
    up = min(1.0, (step + 1) / (warmup + 1))
    return min(up, schedule.factor(min(1.0, (1 - progress) / cooldown))) if cooldown > 0 else up


def between(schedule: ScheduleConfig, start: float, end: float, progress: float) -> float:
    """The value at ``progress`` of a quantity that changes from ``start`` to ``end`` over the whole run."""
    return end + (start - end) * schedule.factor(1 - progress)
