"""Whether the other processes of a run live and go on. PyTorch notices only what ends a connection, and names nobody.

Once a second, each process writes a sign of life to the store that all share: a count, how far it has come, and whether it
works alone (`Ranks.alone`). The main rank reads those of all others, and these read that of the main rank. A process is lost
if its count stands still, or if it stays behind while the others wait for it. Then it is killed, if it runs on this machine: so
its connections end, and whoever waits for it gets an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

EVERY = 1.0  # seconds between signs of life
SILENT = 30.0  # seconds without one, after which a process is lost. A slow disk may hold Python's lock for some seconds
BROKEN = 5.0  # the same where a connection has ended, so that some process must be lost
BEHIND = 30.0  # seconds that a process may be behind the others; more if steps take long
PATIENCE = 20.0  # seconds that this process has to end after another one was lost
INTERRUPT = signal.SIGUSR2
SILENCE, IDLE, ENDED = "doesn't answer any more", "does nothing any more", "has ended"  # why a process is lost


class Sign:
    """A sign of life, as it is written."""

    def __init__(self, text: str = "0 0 1 0 -") -> None:
        count, place, alone, pid, self.host = text.split()
        self.count, self.place, self.alone, self.pid = int(count), int(place), alone == "1", int(pid)

    def send(self, number: int) -> bool:
        """Send a signal to the process, if it is one of this machine. Returns whether it is there; signal 0 only asks."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, number)
        except OSError:
            return False
        return True


class Watch:
    """place: how far this process has come; the others see it. slowest: seconds of its slowest piece of work. behind: seconds
    that another process may be behind, if work isn't slower. lost: the rank that was lost, and why; None so far. tell: is
    called with these if this process doesn't end by itself, before it is ended.
    """

    def __init__(self, store: Any, rank: int, size: int, tell: Callable[[int, str], None]) -> None:
        self.place, self.slowest, self._alone = 0, 0.0, 0
        self.lost: tuple[int, str] | None = None
        self._store, self._rank, self._tell = store, rank, tell
        self._others = [other for other in range(size) if other != rank] if rank == 0 else [0]
        self._over, self._round = threading.Event(), time.monotonic()
        self._silent, self.behind = SILENT, BEHIND
        self._signs, self._seen = dict[int, Sign](), dict[int, tuple[Sign, float, float]]()
        # two threads, because the store may stop with the main process, and whoever asks it then waits for ever
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._exchange, self._judge)]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A context in which the others wait for this process."""
        self._alone += 1
        try:
            yield
        finally:
            self._alone -= 1

    def find(self) -> tuple[int, str] | None:
        """The lost process, after a connection has ended; None if none is lost. It takes a while until its silence is noticed.
        """
        self._silent = BROKEN
        until = time.monotonic() + BROKEN + 3 * EVERY
        while self.lost is None and time.monotonic() < until:
            time.sleep(0.1)
        return self.lost

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _exchange(self) -> None:
        """Write a sign of life, and read those of others, once a second."""
        count, me = 0, f"{os.getpid()} {socket.gethostname()}"
        while True:
            count += 1
            try:
                self._store.set(f"sign/{self._rank}", f"{count} {self.place} {int(self._alone > 0)} {me}")
                if self._rank and self._store.check(["fault/0"]):  # the main process has told what is wrong
                    self._store.set(f"left/{self._rank}", "")
                    os._exit(1)
                if self._store.check([f"sign/{other}" for other in self._others]):
                    self._signs = {other: Sign(self._store.get(f"sign/{other}").decode()) for other in self._others}
            except Exception:  # the store is a thread of the main process, or of torchrun, and has ended with it
                self._round = -float("inf")
                return
            self._round = time.monotonic()
            if self._over.wait(EVERY):
                return

    def _judge(self) -> None:
        """Look whether others live and go on, and whether what has started us does."""
        parent = int(os.environ.get("STLM_PARENT", os.getppid()))
        while not self._over.wait(EVERY):
            now = time.monotonic()
            if os.getppid() != parent and self._rank == 0:  # it was killed: save and stop, once
                parent = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)
            if self._round < 0:  # where torchrun keeps the store, torchrun has ended and the main process may live
                main = self._signs.get(0)
                return None if self._rank == 0 or (main and main.send(0)) else self._lose(0, ENDED, None)
            faults = {other: why for other, sign in self._signs.items() if (why := self._fault(other, sign, now))}
            if now - self._round > self._silent and self._rank:
                faults[0] = SILENCE
            for other, why in faults.items():
                return self._lose(other, why, self._signs.get(other))

    def _fault(self, other: int, sign: Sign, now: float) -> str | None:
        """What is wrong with a process; None if nothing is."""
        before, heard, moved = self._seen.get(other, (Sign(), now, now))
        heard = now if sign.count != before.count else heard
        goes_on = sign.place != before.place or sign.alone or sign.place >= self.place
        moved = now if goes_on else moved
        self._seen[other] = sign, heard, moved
        if now - heard > self._silent:
            return SILENCE
        if now - moved > max(self.behind, 4 * self.slowest):
            return IDLE
        return None

    def _lose(self, other: int, why: str, sign: Sign | None) -> None:
        """End the lost process, and see that this one ends soon."""
        self.lost = other, why
        if sign is not None:
            sign.send(signal.SIGKILL)
        if self._alone:  # else this process waits for the lost one, or soon will, and gets an error
            os.kill(os.getpid(), INTERRUPT)
        if not self._over.wait(PATIENCE):
            self._tell(other, why)
            os._exit(1)
