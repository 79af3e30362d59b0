"""Warm-up, stable, decay (Hägele et al. 2024, arXiv 2405.18392): the learning rate as a multiple of its peak.

The end of the run matters only once the decay has begun; so a run that is given minutes instead of steps can decide
by the clock when to begin, and all is a function of the step from then on.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where the decay begins and where the run ends, in steps; None while only the clock knows."""

    decay_start: int | None = None
    total: int | None = None

    @classmethod
    def of_steps(cls, total: int, decay: float) -> Plan:
        """The plan of a run of ``total`` steps whose last share ``decay`` is the decay."""
        return cls(round(total * (1 - decay)), total)

    @classmethod
    def by_clock(cls, step: int, spent: float, allowed: float, decay: float) -> Plan:
        """The plan at a step, when ``spent`` of ``allowed`` seconds are over: the decay begins where it's due and then
        takes as many steps as the remaining time will hold at the speed so far.
        """
        if step == 0 or spent < allowed * (1 - decay):
            return cls()
        return cls(step, step + max(1, round(step * max(0.0, allowed - spent) / spent)))


def scale(step: int, warmup: int, plan: Plan) -> float:
    """The learning rate of step ``step`` (from 0) as a multiple of its peak: linear up, flat, linear down to zero."""
    up = min(1.0, (step + 1) / (warmup + 1))
    if plan.decay_start is None or plan.total is None or step < plan.decay_start:
        return up
    return min(up, max(0.0, (plan.total - step) / (plan.total - plan.decay_start + 1)))
