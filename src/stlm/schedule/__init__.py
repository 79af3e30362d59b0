"""How a quantity changes in the course of training. The slot ``schedule``: a kind is the shape of a fall from 1 to 0.

Everything that changes with training reads one progress, 0 at the start and 1 at the end, in steps or, where a run is given
minutes, in seconds.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class ScheduleConfig(Slot):
    """The shape of a fall from 1 to 0."""

    package: ClassVar[str] = "stlm.schedule"

    @abc.abstractmethod
    def factor(self, remaining: float) -> float:
        """The value, 1 to 0, when ``remaining`` of the fall is left: 1 before it begins, 0 at its end."""


def rate_factor(schedule: ScheduleConfig, step: int, progress: float, warmup: int, cooldown: float) -> float:
    """The learning rate of step ``step`` (from 0) as a multiple of its peak: linear up over ``warmup`` steps, flat, and down by
    the schedule over the last share ``cooldown`` of the run (warm-up, stable, decay: Hägele et al. 2024, arXiv 2405.18392).
    """
    up = min(1.0, (step + 1) / (warmup + 1))
    return min(up, schedule.factor(min(1.0, (1 - progress) / cooldown))) if cooldown > 0 else up


def between(schedule: ScheduleConfig, start: float, end: float, progress: float) -> float:
    """A value on its way from ``start`` to ``end`` over the whole run."""
    return end + (start - end) * schedule.factor(1 - progress)
