"""Whether threads that wait for each other spin or sleep. It counts only if it is set before torch is imported.

As libgomp has it, they spin for milliseconds. That is fastest where nobody else wants the cores. Beside one busy program it
costs three quarters of the speed, because the threads that have work wait for a core on which another one spins. Threads that
sleep at once keep more than half; but on a quiet machine they lose a quarter, because waking takes long. So it depends on who
else computes when a command starts (`python -m benchmarks neighbours`). No figure depends on it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

POLICY = "OMP_WAIT_POLICY"
CHOSEN = (POLICY, "GOMP_SPINCOUNT")  # with these the user has chosen
SHARE = 0.25  # of the cores: others that use so many slow us down
LOOKS, APART = 5, 0.002  # and seconds between them, because most programs run for an instant only


def choose(load: Path = Path("/proc/loadavg")) -> None:
    """Let waiting threads sleep if other programs compute now, unless the user has chosen."""
    if not any(name in os.environ for name in CHOSEN) and others_running(load) > SHARE * (os.cpu_count() or 1):
        os.environ[POLICY] = "passive"


def others_running(load: Path) -> int:
    """How many other threads on this machine compute or wait for a core, each time one looks. 0 where the system doesn't tell.
    """
    fewest = 0
    for look in range(LOOKS):
        time.sleep(APART if look else 0.0)
        try:
            others = int(load.read_text().split()[3].split("/")[0]) - 1  # one is this process
        except (OSError, ValueError, IndexError):
            return 0
        if others <= 0:  # a quiet machine is seen at once
            return 0
        fewest = min(fewest or others, others)
    return fewest
