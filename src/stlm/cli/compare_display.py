"""What `stlm compare` shows while runs are carried out. The record and the report are written again whenever a run ends."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from stlm.cli.console import Console
from stlm.compare import launch, record
from stlm.compare.comparison_page import write_page
from stlm.compare.forecast import Work
from stlm.compare.job import Run
from stlm.compare.plan import Plan
from stlm.report.quantities import duration
from stlm.train.folder import BITS, RunFolder, read_metrics


def save(plan: Plan, found: dict[str, Any], console: Console) -> Path | None:
    """Write the record, then the report. Returns the report's path; None if it could not be drawn, which ends no run."""
    record.save(plan, found)
    try:
        return write_page(plan, found)
    except Exception as error:  # drawing may raise anything, and the record is what counts
        console.say(f"the report could not be written ({type(error).__name__}: {error}); the record is complete")
        return None


class Display(launch.Watcher):
    """A progress bar for the comparison and one for each run at work; without a terminal, a line when a run starts. A line when
    a run ends. faults: a sentence for each run that failed.
    """

    def __init__(self, work: Work, console: Console) -> None:
        self.work, self.console, self.faults = work, console, list[str]()
        self.total = len(work.missing)
        self._left, self._started, self._took = self.total, dict[str, float](), list[float]()
        self._bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                             TextColumn("{task.fields[info]}", markup=False), TimeElapsedColumn(), console=console,
                             transient=True, disable=not console.is_terminal)
        self._whole = self._bar.add_task(f"{work.plan.name}: {self.total} runs to train", total=self.total, info="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def started(self, run: Run) -> None:
        self._started[run.name] = time.monotonic()
        if not self.console.is_terminal:
            self.console.say(f"{self.work.plan.label(run)}: started")

    def waits(self, run: Run) -> None:
        self.console.say(f"{self.work.plan.label(run)}: another process trains {run.folder}; waiting for it")

    def ended(self, run: Run) -> None:
        found = run.found()
        self._over(run, f"{found[BITS]:.4f} bits per byte after {duration(found['seconds'])} of training")
        so_far = record.make_record(self.work.plan, self.work.recorded)
        if so_far["arms"]:
            save(self.work.plan, so_far, self.console)

    def failed(self, run: Run, fault: str) -> None:
        said = f"failed: {fault} (more in {run.folder / launch.LOG})"
        self.faults.append(f"{self.work.plan.label(run)} {said}")
        self._over(run, said)

    def _over(self, run: Run, what: str) -> None:
        self._left -= 1
        self._bar.advance(self._whole)
        if run.name in self._started:
            self._took.append(time.monotonic() - self._started[run.name])
        self.console.say(f"{self.work.plan.label(run)}: {what}  ({self.total - self._left} of {self.total}{self._rest()})")

    def _rest(self) -> str:
        """How long the runs that are left will take, by those that ended."""
        if not (self._left and self._took):
            return ""
        left = statistics.fmean(self._took) * max(1.0, self._left / self.work.at_once)
        return f", about {duration(max(1, left))} left"

    def look(self, runs: list[Run]) -> None:
        names = {run.name for run in runs}
        for name in [name for name in self._tasks if name not in names]:
            self._bar.remove_task(self._tasks.pop(name))
        for run in runs:
            if run.name not in self._tasks:
                label = f"  {self.work.plan.label(run)}"
                self._tasks[run.name] = self._bar.add_task(label, total=1.0, info="starting")
            last = next(reversed([m for m in read_metrics(RunFolder(run.folder).metrics) if "train/bits_per_byte" in m]), None)
            if last:
                self._bar.update(self._tasks[run.name], completed=last.get("train/progress", 0.0),
                                 info=f"{last['train/bits_per_byte']:.3f} bits/byte")
