"""Whether the other processes of a run live and go on. PyTorch notices only what ends a connection, and names nobody.

Each process has a thread that writes a sign of life to the store that all share, once a second: a count, how far the process
has come, and whether it works alone (`Ranks.alone`). The main rank reads those of all others, and these read that of the main
rank. A process is lost if its count stands still, or if it stays behind while the others wait for it. Then it is killed, if it
runs on this machine: so its connections end, and whoever waits for it gets an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY = 1.0  # seconds between signs of life
SILENT = 15.0  # seconds without one, after which a process is lost. A long call may hold Python's lock for some seconds
BEHIND = 30.0  # seconds that a process may be behind the others; more if steps take long
PATIENCE = 20.0  # seconds that this process has to end after another one was lost
INTERRUPT = signal.SIGUSR2


class Sign:
    """A sign of life, as it is written."""

    def __init__(self, text: str = "0 0 1 0 -") -> None:
        count, place, alone, pid, self.host = text.split()
        self.count, self.place, self.alone, self.pid = int(count), int(place), alone == "1", int(pid)


class Watch:
    """place: how far this process has come; the others see it. slowest: seconds of its slowest piece of work. lost: the rank
    that was lost, and why; None so far. tell: is called with these if this process doesn't end by itself, before it is ended.
    """

    def __init__(self, store: Any, rank: int, size: int, tell: Callable[[int, str], None]) -> None:
        self.place, self.slowest, self._alone = 0, 0.0, 0
        self.lost: tuple[int, str] | None = None
        self._store, self._rank, self._tell = store, rank, tell
        self._others = [other for other in range(size) if other != rank] if rank == 0 else [0]
        self._over, self._seen = threading.Event(), dict[int, tuple[Sign, float, float]]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def alone(self) -> Any:
        """A context in which the others wait for this process."""
        self._alone += 1
        try:
            yield
        finally:
            self._alone -= 1

    def find(self) -> tuple[int, str] | None:
        """The lost process. It is waited for, because an error may come before its silence is noticed."""
        until = time.monotonic() + SILENT + 2 * EVERY
        while self.lost is None and time.monotonic() < until:
            time.sleep(0.1)
        return self.lost

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        count, me, parent = 0, f"{os.getpid()} {socket.gethostname()}", os.getppid()
        while not self._over.wait(EVERY if count else 0.0):
            count += 1
            if os.getppid() != parent and self._rank == 0:  # what has started us was killed: save and stop, once
                parent = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)
            try:
                self._store.set(f"sign/{self._rank}", f"{count} {self.place} {int(self._alone > 0)} {me}")
                known = self._others if self._store.check([f"sign/{other}" for other in self._others]) else []
                signs = {other: Sign(self._store.get(f"sign/{other}").decode()) for other in known}
            except Exception:  # the store is a thread of the main process, or of torchrun
                self._lose(0, "has ended", None)
                return
            for other, sign in signs.items():
                if why := self._fault(other, sign, time.monotonic()):
                    self._lose(other, why, sign)
                    return

    def _fault(self, other: int, sign: Sign, now: float) -> str | None:
        """What is wrong with a process; None if nothing is."""
        before, heard, moved = self._seen.get(other, (Sign(), now, now))
        heard = now if sign.count != before.count else heard
        goes_on = sign.place != before.place or sign.alone or sign.place >= self.place
        moved = now if goes_on else moved
        self._seen[other] = sign, heard, moved
        if now - heard > SILENT:
            return "doesn't answer any more"
        if now - moved > max(BEHIND, 4 * self.slowest):
            return "does nothing any more"
        return None

    def _lose(self, other: int, why: str, sign: Sign | None) -> None:
        """End the lost process, and see that this one ends soon."""
        self.lost = other, why
        if sign is not None and sign.host == socket.gethostname():
            with contextlib.suppress(OSError):
                os.kill(sign.pid, signal.SIGKILL)
        if self._alone:  # else this process waits for the lost one, or soon will, and gets an error
            os.kill(os.getpid(), INTERRUPT)
        if not self._over.wait(PATIENCE):
            self._tell(other, why)
            os._exit(1)
