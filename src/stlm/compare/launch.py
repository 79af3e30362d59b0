"""Carry out runs, several at a time: on this machine or on a cluster."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from stlm.compare.job import Run
from stlm.config.spread import take_processes
from stlm.errors import UserError
from stlm.train.device import n_gpus
from stlm.train.folder import RUNS, RunFolder

LOG = "log.txt"
POLL = 0.5  # seconds between checks of the jobs


class Job(abc.ABC):
    """A run that was started."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @abc.abstractmethod
    def over(self) -> bool:
        """Whether it has ended, with or without success."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Save and end it."""

    def fault(self) -> str:
        """The last line of its log."""
        path = self.run.folder / LOG
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1].removeprefix("stlm: ") if lines else "it printed nothing"


class Process(Job):
    """A job on a device of this machine, with a given number of threads. Its output goes to the run's ``log.txt``."""

    def __init__(self, run: Run, threads: int, device: str = "auto") -> None:
        super().__init__(run)
        self.device = device
        run.folder.mkdir(parents=True, exist_ok=True)
        with open(run.folder / LOG, "a") as log:
            self._process = subprocess.Popen(run.command(device), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                             env={**os.environ, "OMP_NUM_THREADS": str(threads)}, start_new_session=True)

    def over(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        _wait_for(self.run)


class Processes:
    """Starts jobs on this machine, each on the device with the fewest. device: as in `pick_device`."""

    def __init__(self, device: str, threads: int) -> None:
        several, self._all = n_gpus() if device in ("auto", "cuda") else 0, device
        self._devices = [f"cuda:{number}" for number in range(several)] if several > 1 else [device]
        self._threads, self._jobs = threads, list[Process]()

    def start(self, run: Run) -> Process:
        self._jobs = [job for job in self._jobs if not job.over()]
        busy, alone = [job.device for job in self._jobs], take_processes(run.words)[0] == 1
        # several processes of one run share all GPUs among themselves
        self._jobs.append(Process(run, self._threads, min(self._devices, key=busy.count) if alone else self._all))
        return self._jobs[-1]


class Submitted(Job):
    """A job on a cluster, submitted by submitit."""

    def __init__(self, run: Run, executor: Any, device: str = "auto") -> None:
        super().__init__(run)
        run.folder.mkdir(parents=True, exist_ok=True)
        self._job = executor.submit(_execute, run.command(device), str(run.folder / LOG), str(Path.cwd()))

    def over(self) -> bool:
        return self._job.done()

    def stop(self) -> None:
        self._job.cancel()


def _execute(command: list[str], log: str, folder: str) -> int:
    with open(log, "a") as file:
        return subprocess.run(command, stdout=file, stderr=file, cwd=folder, check=False).returncode


def cluster(kind: str, settings: dict[str, str]) -> Any:
    """A submitit executor. kind: ``slurm``, or ``local`` to try it on one machine. settings: named as in submitit."""
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError("--cluster needs submitit; pip install 'stlm[cluster]'") from None
    try:
        executor = submitit.AutoExecutor(folder=RUNS / ".submitit", cluster=kind)
        executor.update_parameters(**{name: int(value) if value.isdecimal() else value for name, value in settings.items()})
    except (NameError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"--cluster {kind}: {error}") from None
    return executor


class Watcher(Protocol):
    """What is told about the runs of a comparison."""

    def started(self, run: Run) -> None:
        """A run was started."""

    def waits(self, run: Run) -> None:
        """Another process trains this run; it is waited for."""

    def ended(self, run: Run) -> None:
        """A run is finished."""

    def failed(self, run: Run, fault: str) -> None:
        """A run ended without success; the others go on. fault: the last line of its log."""

    def look(self, runs: list[Run]) -> None:
        """Twice a second: the runs at work."""


def carry_out(runs: Iterable[Run], start: Callable[[Run], Job], at_once: int, watcher: Watcher) -> None:
    """Carry out all runs, ``at_once`` at a time. A run starts after those that it builds on; if one of these fails, so does it.
    If another process still trains a run (for example after a comparison was killed), it is waited for. However this ends, the
    runs at work are saved and stopped.
    """
    waiting, active = list({run.name: run for run in runs}.values()), list[Job]()
    again, failed = set[str](), set[str]()
    try:
        while waiting or active:
            while len(active) < at_once and (run := _next(waiting, active)):
                waiting.remove(run)
                if run.finished:
                    watcher.ended(run)
                    continue
                if lost := failed.intersection(run.after):
                    watcher.failed(run, f"it builds on {min(lost)}, which failed")
                    continue
                if RunFolder(run.folder).busy:
                    watcher.waits(run)
                    _wait_for(run)
                active.append(start(run))
                watcher.started(run)
            for job in [job for job in active if job.over()]:
                active.remove(job)
                # another process may have been starting when we looked: it trains there still, or has done so meanwhile
                if not job.run.finished and (RunFolder(job.run.folder).busy or (job.run.trained and job.run.name not in again)):
                    again.add(job.run.name)
                    waiting.insert(0, job.run)
                    continue
                if job.run.finished:
                    watcher.ended(job.run)
                else:
                    failed.add(job.run.name)
                    watcher.failed(job.run, job.fault())
            watcher.look([job.run for job in active])
            time.sleep(POLL if active else 0)
    finally:
        for job in active:
            job.stop()


def _next(waiting: list[Run], active: list[Job]) -> Run | None:
    """The first run for which all runs that it builds on are finished."""
    missing = {run.name for run in [*waiting, *(job.run for job in active)]}
    return next((run for run in waiting if missing.isdisjoint(run.after)), None)


def _wait_for(run: Run) -> None:
    """Wait until no process trains this run."""
    while RunFolder(run.folder).busy:
        time.sleep(POLL)
