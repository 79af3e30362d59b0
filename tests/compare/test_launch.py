"""Runs are carried out several at a time, in order, and a fault ends one of them alone."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stlm.compare import launch
from stlm.compare.job import Run
from stlm.errors import UserError
from tests.compare.fakes import MEASURES, RESULTS, finish


class Seen(launch.Watcher):
    """What was told of the runs."""

    def __init__(self) -> None:
        self.told, self.most = list[tuple[str, ...]](), 0

    def started(self, run: Run) -> None:
        self.told.append(("started", run.name))

    def waits(self, run: Run) -> None:
        self.told.append(("waits", run.name))

    def ended(self, run: Run) -> None:
        self.told.append(("ended", run.name))

    def failed(self, run: Run, fault: str) -> None:
        self.told.append(("failed", run.name, fault))

    def look(self, runs: list[Run]) -> None:
        self.most = max(self.most, len(runs))

    def names(self, what: str) -> list[str]:
        return [name for said, name, *_ in self.told if said == what]


class Fake(launch.Job):
    """A job that takes two looks; its run is finished afterwards unless its name says otherwise."""

    started: list[str]
    stopped: list[str]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.looks = 0
        Fake.started.append(run.name)

    def over(self) -> bool:
        self.looks += 1
        if self.looks == 2 and "bad" not in self.run.name:
            finish(self.run)
        return self.looks >= 2

    def stop(self) -> None:
        Fake.stopped.append(self.run.name)


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "POLL", 0)
    Fake.started, Fake.stopped = [], []


@pytest.mark.usefixtures("fakes")
def test_so_many_at_once():
    runs, seen = [Run(f"r{i}", [], {}) for i in range(5)], Seen()
    launch.carry_out(runs, Fake, 2, seen)
    assert seen.most == 2 and sorted(seen.names("ended")) == seen.names("started") == [run.name for run in runs]


@pytest.mark.usefixtures("fakes")
def test_a_run_waits_for_those_that_it_builds_on_and_no_other_does():
    finished = {}

    class Watching(Fake):
        def __init__(self, run: Run) -> None:
            super().__init__(run)
            finished[run.name] = [other.name for other in runs if other.finished]

    runs = [Run("first", [], {}), Run("built", [], {}, ["first"]), *(Run(f"r{i}", [], {}) for i in range(3))]
    launch.carry_out(runs, Watching, 2, Seen())
    assert finished.keys() == {run.name for run in runs}
    assert finished["first"] == finished["r0"] == [] and "first" in finished["built"]


@pytest.mark.usefixtures("fakes")
def test_others_go_on_when_one_fails():
    Path("runs/bad").mkdir(parents=True)
    Path("runs/bad/log.txt").write_text("step 1\nstlm: the gradient is nan\n")
    runs, seen = [Run("bad", [], {}), Run("good", [], {}), Run("built", [], {}, ["bad"]), Run("later", [], {})], Seen()
    launch.carry_out(runs, Fake, 1, seen)
    assert seen.names("ended") == ["good", "later"] and seen.names("failed") == ["bad", "built"]
    assert ("failed", "bad", "the gradient is nan") in seen.told
    assert ("failed", "built", "it builds on bad, which failed") in seen.told and "built" not in Fake.started


@pytest.mark.usefixtures("fakes")
def test_runs_at_work_are_stopped_when_the_comparison_is():
    class Interrupted(Seen):
        def look(self, runs: list[Run]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.carry_out([Run("one", [], {}), Run("two", [], {}), Run("three", [], {})], Fake, 2, Interrupted())
    assert Fake.stopped == ["one", "two"]


def test_a_cluster_that_is_not_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'stlm\[cluster\]'"):
        launch.cluster("slurm", {})


class Trivial(Run):
    """A run that is carried out in no time."""

    def command(self, device: str = "auto") -> list[str]:
        write = [f"Path('runs/{self.name}/{name}.json').write_text({json.dumps(fields)!r})"
                 for name, fields in (("results", RESULTS), ("measures", MEASURES))]
        return [sys.executable, "-c", "; ".join(["from pathlib import Path", *write, "print('done')"])]


@pytest.mark.usefixtures("fakes")
def test_a_process_of_its_own():
    """What it prints is kept, and one that fails says why."""
    run, seen = Trivial("one", [], {}), Seen()
    launch.carry_out([run], lambda run: launch.Process(run, 1), 1, seen)
    assert seen.names("ended") == ["one"] and (run.folder / launch.LOG).read_text() == "done\n"


@pytest.mark.parametrize(("device", "gpus", "expected"), [
    ("auto", 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:1"]),
    ("cuda", 3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]), ("cuda:1", 2, ["cuda:1"] * 5),
    ("cpu", 2, ["cpu"] * 5), ("auto", 1, ["auto"] * 5), ("mps", 0, ["mps"] * 5)])
@pytest.mark.usefixtures("fakes")
def test_runs_share_the_gpus(device, gpus, expected, monkeypatch):
    """A run gets the GPU with the fewest. In the end, the second run is over, so its GPU is free."""
    commands, over = [], [False] * 5

    def popen(command, **_):
        commands.append(command)
        number = len(commands) - 1
        return SimpleNamespace(poll=lambda: 0 if over[number] else None)

    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    monkeypatch.setattr(launch, "n_gpus", lambda: gpus)
    processes = launch.Processes(device, threads=1)
    for number in range(4):
        processes.start(Run(f"r{number}", [], {}))
    over[1] = True
    processes.start(Run("r4", [], {}))
    assert [command[-1] for command in commands] == expected


def test_a_run_of_several_processes_gets_all_gpus(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda command, **more: (
        commands.append(command), SimpleNamespace(poll=lambda: None))[1])
    monkeypatch.setattr(launch, "n_gpus", lambda: 4)
    processes = launch.Processes("auto", threads=1)
    for words in (["demo"], ["demo", "--processes", "2"], ["demo", "--processes", "1"]):
        processes.start(Run("-".join(words), words, {}))
    assert [command[-1] for command in commands] == ["cuda:0", "auto", "cuda:1"]


@pytest.mark.usefixtures("fakes")
def test_a_clusters_job_gets_the_device():
    submitted = []
    launch.Submitted(Run("one", [], {}), SimpleNamespace(submit=lambda *given: submitted.append(given)), "cuda")
    assert submitted[0][1][-1] == "cuda"


@pytest.mark.slow
@pytest.mark.usefixtures("fakes")
def test_jobs_of_a_cluster():
    executor, seen = launch.cluster("local", {"timeout_min": "1"}), Seen()
    runs = [Trivial(f"r{i}", [], {}) for i in range(2)]
    launch.carry_out(runs, lambda run: launch.Submitted(run, executor), 9, seen)
    assert sorted(seen.names("ended")) == ["r0", "r1"]
    assert (runs[0].folder / launch.LOG).read_text() == "done\n"
    with pytest.raises(UserError, match="--cluster local"):
        launch.cluster("local", {"no_such_setting": "1"})


@pytest.mark.usefixtures("fakes")
def test_a_run_that_is_still_trained_elsewhere_is_waited_for(monkeypatch):
    from stlm.train.folder import RunFolder
    run = Run("busy", [], {})
    with RunFolder(run.folder).locked():
        assert RunFolder(run.folder).busy
        looks, seen = iter([True, True, True, False]), Seen()
        monkeypatch.setattr(RunFolder, "busy", property(lambda self: next(looks, False)))
        start = time.monotonic()
        launch.carry_out([run], Fake, 1, seen)
        assert time.monotonic() - start < 5
    assert Fake.started == ["busy"] and next(looks, None) is None and seen.names("waits") == ["busy"]
