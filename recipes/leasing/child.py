"""Processes with a time limit. Nothing trusts that one ends: it gets SIGTERM, and SIGKILL soon after, with all that it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from leasing import PACKAGES, ROOT

LOOK = 0.2  # seconds between looks at a process
SETTLE = 10.0  # seconds that a process may take to save what it has after SIGTERM
STLM = ("-m", "stlm")
MEASURE = (str(Path(__file__).with_name("measure.py")),)


class Child:
    """A running Python program. Its output goes to a file, whose name is that of the child."""

    running: set[Child] = set()  # noqa: RUF012

    def __init__(self, words: Sequence[str], log: Path) -> None:
        """words: arguments of Python. A line has to be written to its standard input if it waits for one (`go`)."""
        paths = [str(ROOT / "src"), str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        self.log, self.name, self.started = log, log.stem, time.monotonic()
        with open(log, "ab") as file:
            self._process = subprocess.Popen([sys.executable, *words], env=env, stdin=subprocess.PIPE, stdout=file,
                                             stderr=subprocess.STDOUT, process_group=0)
        self.running.add(self)

    def go(self) -> None:
        """Tell a child that has made itself ready to begin."""
        with contextlib.suppress(OSError):  # it may have failed already
            self._process.stdin.write(b"go\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def wait(self, until: float, watch: Callable[[], object] = lambda: None, settle: float = SETTLE) -> int | None:
        """Wait for the end, at most until that time of `time.monotonic`. watch is called again and again meanwhile. Returns the
        exit status; None if the time was over.
        """
        while (status := self._process.poll()) is None and time.monotonic() < until:
            watch()
            time.sleep(LOOK)
        self.stop(settle)
        return status

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, settle: float = 0.0) -> None:
        """End the process and all that it started. settle: seconds between SIGTERM and SIGKILL."""
        if self._process.poll() is None and settle:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(settle)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
        self.running.discard(self)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def last_line(self) -> str:
        """The last line that it wrote: the error, if it failed."""
        return next((line for line in reversed(self.log.read_text(errors="replace").splitlines()) if line.strip()), "no output")


def stop_all() -> None:
    """End all children that still run."""
    for child in list(Child.running):
        child.stop()
