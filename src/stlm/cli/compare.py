"""``stlm compare``."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Annotated, Any

from rich import box
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from stlm.cli.console import Console
from stlm.cli.parser import Parser
from stlm.cli.runs import page_line
from stlm.compare import launch, record
from stlm.compare.comparison_page import write_page
from stlm.compare.job import ROUNDS, Run, time_decoding
from stlm.compare.plan import Plan, make_plan
from stlm.compare.recipe import load_recipe
from stlm.compare.statistics import shown_p
from stlm.config.bounds import Range
from stlm.config.writing import check_folder
from stlm.errors import UserError
from stlm.train.checkpoint import list_checkpoints
from stlm.train.folder import BITS, RUNS, RunFolder, read_metrics


def run(arguments: list[str]) -> int:
    parser = Parser("compare")
    parser.path("recipe")
    parser.number("--jobs", Annotated[int, Range(1, 1000)])
    parser.text("--cluster")
    parser.text("--set", action="append", default=[])
    given = parser.parse_args(arguments)
    path, kind, settings = given.recipe, given.cluster, _settings(given.set)
    at_once, threads = _shares(given.jobs, kind)
    plan = make_plan(path.stem, load_recipe(path), threads)
    for folder in (RUNS, record.RESULTS / plan.name):
        check_folder(folder)
    executor = launch.cluster(kind, settings) if kind else None

    def start(run: Run) -> launch.Job:
        return launch.Submitted(run, executor) if executor else launch.Process(run, threads)

    console = Console()
    console.print(f"{plan.recipe.question}\n{plan.recipe.rule}", highlight=False)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler sends SIGTERM instead of Ctrl-C
    recorded = record.on_record(plan)
    missing = [run for _, _, run in plan.runs() if run.name not in recorded.runs]
    first = [run for run in plan.first.values() if any(run.name in other.after for other in missing)]
    if recorded.others:
        console.print("the record has runs that this recipe no longer describes; a copy is in "
                      f"{record.set_aside(plan)}", highlight=False)
    if recorded.runs:
        console.print(f"{len(recorded.runs)} runs are in the record already; to run them again, "
                      f"delete results/{plan.name}", highlight=False)
    try:
        with _Display(plan, recorded, console) as display:
            launch.carry_out([*first, *missing], start, at_once, display.ended, display.look)
        _time_decoding([run for _, _, run in plan.runs()], console)
    except KeyboardInterrupt:
        console.print(f"stopped, and everything is saved; continue with:  stlm compare {path}", highlight=False)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    found = record.make_record(plan, recorded)
    console.print(_table(plan, found))
    console.print(f"results: {record.save(plan, found)}\n{page_line(lambda: write_page(plan, found))}", highlight=False,
                  soft_wrap=True)
    return 0


def _time_decoding(runs: list[Run], console: Console) -> None:
    """Measure the speed of generation of the runs on this machine in turns, now that nothing else runs. Nothing happens if this
    was done for all of them.
    """
    here = [run for run in {run.name: run for run in runs}.values()
            if run.finished and list_checkpoints(RunFolder(run.folder).checkpoints)]
    if all(run.timed_in_turns for run in here):
        return
    with Progress(TextColumn("speed of generation"), BarColumn(bar_width=24), TimeElapsedColumn(), console=console,
                  transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=ROUNDS * len(here))
        time_decoding(here, lambda: bar.advance(task))


def _settings(words: list[str]) -> dict[str, str]:
    """The settings of a cluster's jobs, by name."""
    for word in words:
        if not re.fullmatch(r"\w+=.*", word):
            raise UserError(f"--set {word}: it has to be NAME=VALUE, such as timeout_min=60")
    return dict(word.split("=", 1) for word in words)


def _shares(jobs: int | None, kind: str | None) -> tuple[int, int]:
    """The number of runs at once, and the number of threads for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if kind not in (None, "slurm", "local"):
        raise UserError(f"--cluster {kind}: it has to be slurm, or local (to try it without a cluster)")
    at_once = jobs or (10_000 if kind else 1)
    return at_once, 0 if kind else max(1, cores // at_once)  # on a cluster, the scheduler decides


class _Display:
    """A progress bar for the comparison, and one for each active run. The record is written again whenever a run ends."""

    def __init__(self, plan: Plan, recorded: record.Recorded, console: Console) -> None:
        self.plan, self.recorded, self.console = plan, recorded, console
        self._bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                             TextColumn("{task.fields[info]}", markup=False),
                             TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)
        runs = [*plan.first.values(), *(run for _, _, run in plan.runs())]
        self._whole = self._bar.add_task(f"{plan.name}: {len(runs)} runs", total=len(runs),
                                         completed=len(recorded.runs), info="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def ended(self, run: Run) -> None:
        self._bar.advance(self._whole)
        found = run.found()
        self.console.print(f"{run.name}: {found[BITS]:.4f} bits per byte after {found['seconds']:.0f} s", highlight=False)
        so_far = record.make_record(self.plan, self.recorded)
        if so_far["arms"]:
            record.save(self.plan, so_far)
            page_line(lambda: write_page(self.plan, so_far))

    def look(self, runs: list[Run]) -> None:
        names = {run.name for run in runs}
        for name in [name for name in self._tasks if name not in names]:
            self._bar.remove_task(self._tasks.pop(name))
        for run in runs:
            if run.name not in self._tasks:
                self._tasks[run.name] = self._bar.add_task(f"  {run.name}", total=1.0, info="starting")
            last = next(reversed([m for m in read_metrics(RunFolder(run.folder).metrics) if "train/bits_per_byte" in m]), None)
            if last:
                self._bar.update(self._tasks[run.name], completed=_share(self.plan, last),
                                 info=f"{last['train/bits_per_byte']:.3f} bits/byte")


def _share(plan: Plan, line: dict[str, Any]) -> float:
    """The share of a run that is done, from its last line of metrics."""
    per: dict[str, Callable[[], float]] = {"minutes": lambda: line["seconds"] / 60, "steps": lambda: line["step"],
                                           "megabytes": lambda: line["bytes"] / 1e6, "teraflops": lambda: line["flops"] / 1e12}
    return min(1.0, per[plan.recipe.equal]() / plan.recipe.amount)


def _table(plan: Plan, found: dict[str, Any]) -> Table:
    """The figures that decide. Costs and patches are only in the report, so that the table fits into 80 columns. Figures don't
    wrap.
    """
    recipe, arms = plan.recipe, found["arms"]
    seeds = sorted({row["n"] for row in arms.values()})
    out = Table(title=f"bits per byte of held-out text at equal cost: {found['held_equal']}", box=box.SIMPLE_HEAD,
                caption=f"n = {' or '.join(map(str, seeds))}: mean ± standard deviation; p by Welch's t-test",
                padding=(0, 1, 0, 0), show_edge=False)
    out.add_column("")
    narrow = (f"against {recipe.baseline}", *(f"p against {arm}" for arm in recipe.opponents))
    for column in ("unique", "bits per byte", *(words.replace(" ", "\n") for words in narrow)):
        out.add_column(column, justify="right", no_wrap=True)
    base = arms[recipe.baseline]["mean"]
    for arm, row in sorted(arms.items(), key=lambda item: item[1]["mean"]):
        spread = "" if row["std"] is None else f" ± {row['std']:.3f}"
        out.add_row(arm, f"{row['seeds'][0]['parameters']['unique'] / 1e6:.2f}M", f"{row['mean']:.3f}{spread}",
                    "" if arm == recipe.baseline else f"{row['mean'] / base - 1:+.1%}",
                    *(shown_p(row["p"].get(other)) for other in recipe.opponents),
                    style="bold" if arm == recipe.baseline else None)
    return out
