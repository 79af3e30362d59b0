"""``--processes N``: the short form of torchrun on one machine.

This process starts the others, hands Ctrl-C and SIGTERM on to the main one, and ends all of them when one is lost. It doesn't
import torch. The variables it sets are those of torchrun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from stlm.config.spread import PROCESSES
from stlm.config.words import ended
from stlm.errors import UserError

GRACE = 40.0  # seconds in which the others save and end after one has ended badly
ALONE = 10.0  # the same after the main one has ended
POLL = 0.1  # seconds between looks


def speaks() -> bool:
    """Whether this process is the one of a run that talks to the person. One process of several does."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def launched() -> int | None:
    """How many processes ``--processes`` has started, this one among them; None if it was given no such flag."""
    return int(os.environ["STLM_PROCESSES"]) if "STLM_PROCESSES" in os.environ else None


def launch(n: int, arguments: Sequence[str]) -> int:
    """Run ``stlm ARGUMENTS`` in ``n`` processes. Returns the exit status of the main one."""
    if "WORLD_SIZE" in os.environ:
        raise UserError(f"{PROCESSES}: torchrun has started the processes already; leave it out")
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or available_cores()) // n)
    shared = {**os.environ, "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": str(threads), "STLM_PROCESSES": str(n),
              "STLM_PARENT": str(os.getpid()),
              "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}  # a lost process is told in one line
    processes = list[subprocess.Popen]()

    def hand_on(number: int, frame: object) -> None:
        if len(processes) < n or processes[0].poll() is not None:  # nobody is there to save anything, or not any more
            raise KeyboardInterrupt
        processes[0].send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for rank in range(n):  # in a session of its own, so that Ctrl-C reaches it only through us, once
            processes.append(subprocess.Popen([sys.executable, "-P", "-m", "stlm", *arguments], start_new_session=True,
                                              env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
        return _wait(processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _wait(processes: list[subprocess.Popen]) -> int:
    """Wait until all have ended, or until some time after the first has ended badly."""
    until, alone, first = float("inf"), float("inf"), None
    while [process for process in processes if process.poll() is None] and time.monotonic() < min(until, alone):
        failed = next((rank for rank, process in enumerate(processes) if process.returncode), None)
        if first is None and failed is not None:
            first, until = failed, time.monotonic() + GRACE
        if alone == float("inf") and processes[0].returncode is not None:
            alone = time.monotonic() + ALONE
        time.sleep(POLL)
    status = processes[0].poll()
    if status is not None and status >= 0:  # it has said what there was to say
        return status
    if all(process.returncode != 1 for process in processes[1:]):  # nor has the next one, which speaks if the main one is lost
        lost = processes[first or 0]
        print(f"stlm: process {processes.index(lost)} of {len(processes)} (counted from 0) {ended(lost.returncode)}; what was "
              "saved stays; continue with --resume", file=sys.stderr)
    return 1


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
