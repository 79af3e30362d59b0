"""A word when other programs slow a run down. Nobody else says so: the run only takes longer."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

from stlm.train.loop import Callback, Trainer

SOON = 10.0  # seconds over which use is measured
FULL = 0.9  # share of the cores from which programs wait for each other
MUCH = 0.25  # cores that others have to use before they're mentioned
STAT = Path("/proc/stat")


@dataclasses.dataclass(frozen=True)
class Use:
    """Seconds so far: on the clock, of all cores in use by anybody, and of those used by this process."""

    clock: float
    everybody: float
    own: float


def use_now(stat: Path = STAT) -> Use | None:
    """The use of this machine's cores since it started. None where the system doesn't tell (only Linux does)."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    except (OSError, ValueError):
        return None
    times = os.times()
    return Use(time.monotonic(), (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), times.user + times.system)


class BusyMachine(Callback):
    """Says once if other programs use cores that this run could use."""

    def __init__(self, say: Callable[[str], object], use: Callable[[], Use | None] = use_now) -> None:
        self._say, self._use = say, use
        self._before: Use | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        self._before = self._use()

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        if (before := self._before) is None or (now := self._use()) is None or now.clock - before.clock < SOON:
            return
        self._before = now
        cores, seconds = os.cpu_count() or 1, now.clock - before.clock
        everybody = (now.everybody - before.everybody) / seconds
        others = everybody - (now.own - before.own) / seconds
        if others > MUCH and everybody > FULL * cores:
            self._before = None
            self._say(f"other programs use about {others:.1f} of this machine's {cores} cores, so this run is slower; "
                      "fewer --threads may be faster beside them")
