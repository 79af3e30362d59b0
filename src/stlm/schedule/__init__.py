"""How a quantity changes in training. The slot ``schedule``; a kind is the shape of a change, a factor between 0 and 1.

Most shapes fall from 1 to 0. Some don't: `constant` stays at 1, and `triangle` rises from 0 to 1 and falls back to 0.
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
    """The shape of a change, a factor between 0 and 1."""

    package: ClassVar[str] = "stlm.schedule"

    @abc.abstractmethod
    def factor(self, remaining: float) -> float:
        """The factor, from 0 to 1. ``remaining``: the share of the change that is left, 1 before it begins and 0 at its end."""


def rate_factor(schedule: ScheduleConfig, step: int, progress: float, warmup: int, cooldown: float) -> float:
    """The learning rate of step ``step`` (from 0) as a multiple of its peak. It rises linearly over ``warmup`` steps, is
    constant, and follows the schedule over the last share ``cooldown`` of the run (Hägele et al. 2024, arXiv 2405.18392).
    """
    up = min(1.0, (step + 1) / (warmup + 1))
    return min(up, schedule.factor(min(1.0, (1 - progress) / cooldown))) if cooldown > 0 else up


def why_no_rate(schedule: ScheduleConfig, cooldown: float) -> str | None:
    """Why a learning rate can't have this shape over the last share ``cooldown`` of a run, and what would be right; None if it
    can.
    """
    if 0 < cooldown < 1 and schedule.factor(1.0) < 1:
        return f"the shape {schedule.kind} doesn't begin at 1, so it goes only with cooldown = 1"
    if cooldown > 0 and schedule.factor(0.5) == 0:
        return f"with the shape {schedule.kind} the learning rate is 0 for half of the cooldown; let it fall later"
    return None


def between(schedule: ScheduleConfig, start: float, end: float | None, progress: float) -> float:
    """The value at ``progress`` of a quantity that is ``start`` where the shape is 1, and ``end`` where it is 0. The change
    takes the whole run. Without an end there is none.
    """
    if end is None:
        return start
    return end + (start - end) * schedule.factor(1 - progress)
