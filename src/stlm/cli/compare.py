"""``stlm compare``."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Annotated, Any

from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stlm.cli.compare_display import Display, save
from stlm.cli.console import Console
from stlm.cli.device import take_device
from stlm.cli.parser import Parser, first_name
from stlm.cli.processes import available_cores
from stlm.compare import launch, record
from stlm.compare.forecast import Work
from stlm.compare.job import ROUNDS, Run, time_decoding
from stlm.compare.plan import Plan, make_plan
from stlm.compare.recipe import load_recipe
from stlm.compare.statistics import shown_p
from stlm.compare.verdict import verdicts
from stlm.config.bounds import Range
from stlm.config.writing import check_folder
from stlm.errors import UserError
from stlm.report.quantities import quantity
from stlm.train.checkpoint import list_checkpoints
from stlm.train.device import check_device
from stlm.train.folder import RUNS, RunFolder


def run(arguments: list[str]) -> int:
    recipe, flags = first_name("compare", arguments)
    wanted, flags = take_device(flags)
    parser = Parser("compare")
    parser.number("--jobs", Annotated[int, Range(1, 1000)])
    parser.text("--cluster")
    parser.text("--set", action="append", default=[])
    given = parser.parse_args(flags)
    kind, settings = given.cluster, _settings(given.set)
    if settings and not kind:
        raise UserError("--set: it is a setting of a cluster's jobs; give --cluster too")
    if not kind:
        check_device(wanted)
    cores = 0 if kind else available_cores()  # on a cluster, the scheduler decides
    at_once = _at_once(given.jobs, kind)
    threads = max(1, cores // at_once) if cores else 0
    plan = make_plan(arguments, load_recipe(Path(recipe).expanduser()), threads)
    executor, processes = launch.cluster(kind, settings) if kind else None, launch.Processes(wanted, threads)

    def start(run: Run) -> launch.Job:
        return launch.Submitted(run, executor, wanted) if executor else processes.start(run)

    console = Console()
    recorded = record.on_record(plan)
    work = Work(plan, recorded, at_once, threads, cores)
    for line in (plan.recipe.question, plan.recipe.rule, *work.lines()):
        console.say(line)
    for folder in (RUNS, record.path_of(plan).parent):
        check_folder(folder)
    if recorded.others:
        console.say(f"the record has runs that this recipe no longer describes; a copy is in {record.set_aside(plan)}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler sends SIGTERM instead of Ctrl-C
    try:
        with Display(work, console) as display:
            launch.carry_out(work.missing, start, at_once, display)
        _time_decoding([run for _, _, run in plan.runs()], console)
    except KeyboardInterrupt:
        console.say(f"stopped, and everything is saved; continue with:  {plan.command}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    _conclude(plan, recorded, console)
    if display.faults:
        others = f", and {len(display.faults) - 1} more, named above" if len(display.faults) > 1 else ""
        raise UserError(f"{display.faults[0]}{others}; the same command tries again")
    return 0


def _conclude(plan: Plan, recorded: record.Recorded, console: Console) -> None:
    """Write the record and the report, and show the figures that decide."""
    found = record.make_record(plan, recorded)
    if not found["arms"]:
        return
    console.print(_table(plan, found))
    for line in verdicts(found):
        console.say(line)
    page = save(plan, found, console)
    console.say(f"results: {record.path_of(plan)}" + (f"\nreport:  {page}" if page else ""))


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
        try:
            time_decoding(here, lambda: bar.advance(task))
        except UserError as error:  # a checkpoint that is damaged, or of another version
            console.say(f"speeds of generation are those measured beside other runs: {error}")


def _settings(words: list[str]) -> dict[str, str]:
    """The settings of a cluster's jobs, by name."""
    for word in words:
        if not re.fullmatch(r"\w+=.*", word):
            raise UserError(f"--set {word}: it has to be NAME=VALUE, such as timeout_min=60")
    return dict(word.split("=", 1) for word in words)


def _at_once(jobs: int | None, kind: str | None) -> int:
    """The number of runs at the same time."""
    if kind not in (None, "slurm", "local"):
        raise UserError(f"--cluster {kind}: it has to be slurm, or local (to try it without a cluster)")
    return jobs or (10_000 if kind else 1)


def _table(plan: Plan, found: dict[str, Any]) -> Table:
    """The figures that decide. Costs and patches are only in the report, so that the table fits into 80 columns. Figures don't
    wrap.
    """
    recipe, arms = plan.recipe, found["arms"]
    seeds = sorted({row["n"] for row in arms.values()})
    out = Table(title=f"bits per byte of held-out text at equal cost: {found['held_equal']}", box=box.SIMPLE_HEAD,
                caption=f"n = {' or '.join(map(str, seeds))}: mean ± standard deviation; p by the paired t-test",
                padding=(0, 1, 0, 0), show_edge=False)
    out.add_column("")
    narrow = (f"against {recipe.baseline}", *(f"p against {arm}" for arm in recipe.opponents))
    for column in ("unique", "bits per byte", *(words.replace(" ", "\n") for words in narrow)):
        out.add_column(Text(column), justify="right", no_wrap=True)
    base = arms[recipe.baseline]["mean"] if recipe.baseline in arms else None
    for arm, row in sorted(arms.items(), key=lambda item: item[1]["mean"]):
        spread = "" if row["std"] is None else f" ± {row['std']:.3f}"
        out.add_row(Text(arm), quantity(row["seeds"][0]["parameters"]["unique"], "").replace(" ", ""),
                    f"{row['mean']:.3f}{spread}",
                    "" if base is None or arm == recipe.baseline else f"{row['mean'] / base - 1:+.1%}",
                    *(shown_p(row["p"].get(other)) for other in recipe.opponents),
                    style="bold" if arm == recipe.baseline else None)
    return out
