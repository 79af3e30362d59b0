"""Before anything is trained, a comparison says what it will take; while runs end, whose they are and how long is left."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from stlm.cli import compare, main
from stlm.cli.compare_display import Display
from stlm.compare import launch, record
from stlm.compare.forecast import Work
from stlm.compare.job import Run
from stlm.compare.plan import make_plan
from stlm.compare.recipe import Recipe
from tests.compare.fakes import finish

ARMS = {"words": "demo", "strides [b]": "demo --model.patching stride"}
RECIPE = Recipe("Does it matter?", "The lowest mean.", "minutes", 0.3, ARMS, "words", seeds=(0, 1, 2))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "available_cores", lambda: 2)


def work_of(recipe: Recipe = RECIPE, at_once: int = 1, cores: int = 2) -> Work:
    threads = max(1, cores // at_once) if cores else 0
    plan = make_plan(["x.py"], recipe, threads)
    return Work(plan, record.on_record(plan), at_once, threads, cores)


def changed(**changes: object) -> Recipe:
    return Recipe(**{**vars(RECIPE), **changes})


@pytest.mark.parametrize(("at_once", "cores", "lines"), [
    (1, 2, ["1 at a time, 2 threads each, on 2 cores: about 1.8 minutes of training, start-up and scoring come on top"]),
    (2, 2, ["2 at a time, 1 thread each, on 2 cores: about 54 s of training, start-up and scoring come on top"]),
    (99, 2, ["6 at a time, 1 thread each, on 2 cores: about 18 s of training, start-up and scoring come on top",
             "more runs at a time than cores: each is slower, and learns less in its minutes; --jobs 2 uses all cores"]),
    (3, 8, ["3 at a time, 2 threads each, on 8 cores: about 36 s of training, start-up and scoring come on top"]),
    (9, 0, ["up to 6 at a time on the cluster: about 18 s of training, start-up and scoring come on top"])])
def test_a_plan_of_minutes(at_once, cores, lines):
    first, *rest = work_of(at_once=at_once, cores=cores).lines()
    assert first == "6 runs: 2 arms, 3 seeds; none finished already, 6 to train" and rest == lines


def test_a_plan_without_a_clock_learns_from_finished_runs():
    recipe = changed(equal="steps", amount=20)
    assert work_of(recipe).lines()[-1].endswith("how long they take is said when the first has ended")
    finish(work_of(recipe).plan.arms["words"][0])
    assert work_of(recipe).lines() == [
        "6 runs: 2 arms, 3 seeds; 1 finished already, 5 to train",
        "1 at a time, 2 threads each, on 2 cores: about 1.5 minutes of training, start-up and scoring come on top"]


def test_runs_that_others_build_on_are_counted():
    recipe = changed(arms={**ARMS, "entropy": "demo --model.patching entropy --model.patching.run {reader}"},
                     first={"reader": "reader --train.minutes 1"}, seeds=(0,))
    assert work_of(recipe).lines()[0].endswith("none finished already, 3 to train, after 1 that others build on")
    assert "about 1.9 minutes" in work_of(recipe).lines()[1]
    assert [run.name.split("-")[0] for run in work_of(recipe).missing] == ["reader", "demo", "demo", "demo"]


def test_finished_runs_of_another_number_of_threads_are_named():
    for _, seed, run in work_of(at_once=1).plan.runs():
        if seed < 2:
            finish(run)
    assert work_of(at_once=1).lines()[0] == "6 runs: 2 arms, 3 seeds; 4 finished already, 2 to train"
    assert work_of(at_once=2).lines()[-1] == (
        "4 finished runs had 2 threads each; minutes on 1 thread come to something else, so they are trained again "
        "(--jobs 1 uses them)")
    steps = changed(equal="steps", amount=20)  # which are the same on any number of threads
    finish(work_of(steps).plan.arms["words"][0])
    assert work_of(steps, at_once=2).lines()[0] == "6 runs: 2 arms, 3 seeds; 1 finished already, 5 to train"
    assert len(work_of(steps, at_once=2).lines()) == 2


def test_arms_that_are_the_same_run_are_named():
    work = work_of(changed(arms={**ARMS, "again": "demo --seed 5"}))  # the seed is the recipe's
    assert "'words' and 'again' describe the same run" in work.lines()
    assert work.plan.label(work.plan.arms["again"][1]) == "words = again, seed 1"


def test_a_run_of_another_version_stops_before_training():
    run = work_of().plan.arms["words"][0]
    finish(run)
    found = json.loads((run.folder / "results.json").read_text())
    del found["flops"]
    (run.folder / "results.json").write_text(json.dumps(found))
    Path("x.py").write_text(written())
    assert "no field 'flops', so another version of stlm wrote it; move this run's folder away" in said("x.py")[1]


def written(**changes: object) -> str:
    fields = {**vars(RECIPE), "seeds": (0, 1), **changes}
    return f"from stlm.compare.recipe import Recipe\nRECIPE = Recipe(**{fields!r})\n"


def said(*arguments: str) -> tuple[int, str]:
    """The exit status of ``stlm compare`` and what it prints."""
    import contextlib
    with contextlib.redirect_stderr(io.StringIO()) as err:
        return main(["compare", *arguments]), err.getvalue()


class Instant(launch.Job):
    """A run that is finished at once, or fails if its words say so."""

    def __init__(self, run: Run, threads: int, device: str) -> None:
        super().__init__(run)
        self.device = device
        if "stride" not in run.words:
            finish(run, 2.0 + 0.01 * len(run.name) + int(run.name[-1]))
            return
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / launch.LOG).write_text("step 1\nstlm: the gradient is nan\n")

    def over(self) -> bool:
        return True

    def stop(self) -> None:
        """It is over."""


@pytest.fixture
def instant(monkeypatch):
    monkeypatch.setattr(launch, "Process", Instant)
    monkeypatch.setattr(launch, "POLL", 0)
    monkeypatch.setattr("stlm.cli.compare_display.write_page", lambda plan, found: Path("a page"))
    Path("my recipes").mkdir()
    Path("my recipes/x.py").write_text(written())


@pytest.mark.usefixtures("instant")
def test_lines_name_arms_and_seeds_and_others_go_on_after_a_fault():
    status, err = said("my recipes/x.py", "--jobs", "2")
    assert status == 2
    assert "words, seed 0: 2.160 bits" not in err and "words, seed 0: started\n" in err
    assert "words, seed 1: 3.1600 bits per byte after 18 s of training  (3 of 4, about " in err
    assert "strides [b], seed 0: failed: the gradient is nan (more in runs/demo-" in err
    assert err.splitlines()[-1].startswith("stlm: strides [b], seed 0 failed: the gradient is nan (more in runs/demo-")
    assert err.endswith(", and 1 more, named above; the same command tries again\n")
    found = json.loads(Path("results/x/results.json").read_text())
    assert {arm: row["n"] for arm, row in found["arms"].items()} == {"words": 2}


@pytest.mark.usefixtures("instant")
def test_a_baseline_that_fails_leaves_a_table_of_the_others():
    Path("x.py").write_text(written(baseline="strides [b]"))
    status, err = said("x.py")
    assert status == 2 and re.search(r"words +9\.00 +2\.660 ± 0\.707 +", err) and "results: results/x/results.json" in err


@pytest.mark.usefixtures("instant")
def test_a_report_that_fails_ends_nothing(monkeypatch):
    def broken(plan, found):
        raise ValueError("no such font")
    monkeypatch.setattr("stlm.cli.compare_display.write_page", broken)
    Path("x.py").write_text(written(arms={"words": "demo"}))
    status, err = said("x.py")
    assert status == 0 and "the report could not be written (ValueError: no such font); the record is complete" in err
    assert json.loads(Path("results/x/results.json").read_text())["arms"]["words"]["n"] == 2


@pytest.mark.usefixtures("instant")
def test_a_stopped_comparison_says_the_whole_command(monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(launch, "carry_out", stopped)
    status, err = said("my recipes/x.py", "--jobs", "2")
    assert status == 130 and err.endswith("continue with:  stlm compare 'my recipes/x.py' --jobs 2\n")


@pytest.mark.usefixtures("instant")
def test_a_finished_record_of_another_version_is_used_as_far_as_it_can_be():
    Path("x.py").write_text(written(arms={"words": "demo"}))
    assert said("x.py")[0] == 0
    path = Path("results/x/results.json")
    before = json.loads(path.read_text())
    first, second = before["arms"]["words"]["seeds"]
    first["new"] = 1  # a field that only the other version has
    del second["flops"]  # and one that it lacks
    path.write_text(json.dumps(before))
    shutil.rmtree("runs")
    status, err = said("x.py")
    assert status == 0 and "2 runs: 1 arm, 2 seeds; 1 finished already, 1 to train" in err
    assert "a copy is in results/x/earlier-1.json" in err and "words, seed 1: started" in err
    assert len(json.loads(path.read_text())["arms"]["words"]["seeds"]) == 2


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize("content", ["[]", '{"arms": 3}', '{"arms": {"a": {}}, "first": {}}', "{", '{"arms": {}}'])
def test_a_record_that_is_none_is_left_alone(content):
    path = Path("results/x/results.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    status, err = said("my recipes/x.py")
    assert status == 2 and "results/x/results.json: not a re" in err and path.read_text() == content
    assert not Path("runs").exists()


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize(("arguments", "message"), [
    (["--jobs", "0"], "--jobs 0: it has to be 1 or more"),
    (["--jobs", "two"], "--jobs: expected a whole number"), (["--jobs", "-1"], "--jobs -1"),
    (["--set", "a=1"], "--set: it is a setting of a cluster's jobs; give --cluster too"),
    (["--cluster", "local", "--set", "a"], "--set a: it has to be NAME=VALUE"),
    (["--cluster", "local", "--set==1"], "it has to be NAME=VALUE"), (["--seeds", "2"], "there is no flag --seeds")])
def test_faults_of_flags(arguments, message):
    status, err = said("my recipes/x.py", *arguments)
    assert status == 2 and message in err and not Path("runs").exists()


@pytest.mark.usefixtures("instant")
def test_folders_that_cannot_be_written_are_found_before_training():
    Path("results").write_text("a file")
    assert "results/x: cannot be written" in said("my recipes/x.py")[1] and not Path("runs").exists()


def test_bars_of_runs_at_work_are_named(monkeypatch):
    """In a terminal there is a bar for each run; names in it are no markup."""
    work = work_of()
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    display = Display(work, console)
    display.look([work.plan.arms["strides [b]"][2]])
    assert [task.description for task in display._bar.tasks] == ["x: 6 runs to train", "  strides [b], seed 2"]
    console.print(display._bar)
    assert "strides [b], seed 2" in console.file.getvalue()
