"""Beside other busy programs: how threads wait, and the word that others use the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stlm import waiting
from stlm.cli import busy, main
from stlm.cli.busy import BusyMachine, Use, use_now


@pytest.mark.parametrize(("environment", "running", "policy"), [
    ({}, 1, None), ({}, 2, "passive"), ({}, 9, "passive"), ({}, None, None), ({"GOMP_SPINCOUNT": "77"}, 2, None),
    ({"OMP_WAIT_POLICY": "active"}, 2, "active"), ({"GOMP_SPINCOUNT": ""}, 2, None)])
def test_waiting_threads_sleep_beside_others(environment, running, policy, monkeypatch, tmp_path):
    monkeypatch.setattr(waiting.os, "cpu_count", lambda: 2)
    for name in waiting.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if running is not None:
        (tmp_path / "loadavg").write_text(f"0.52 0.58 0.59 {running}/234 5678\n")
    with monkeypatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY", ""))  # so that it is put back
        if "OMP_WAIT_POLICY" not in environment:
            patch.delenv("OMP_WAIT_POLICY")
        waiting.choose(tmp_path / "loadavg")
        assert os.environ.get("OMP_WAIT_POLICY") == policy


@pytest.mark.parametrize("text", ["", "0.5 0.5 0.5", "0.5 0.5 0.5 x/2 1", "0.5 0.5 0.5 1/2 1", "0.5 0.5 0.5 0/2 1"])
def test_who_else_runs_is_not_always_told(text, tmp_path):
    (tmp_path / "loadavg").write_text(text)
    assert waiting.others_running(tmp_path / "loadavg") <= 0


def test_it_is_chosen_before_torch_is_imported():
    code = "import sys, stlm; print('torch' in sys.modules, 'stlm.waiting' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "True"]


# clock, seconds of all cores, own seconds: two cores, of which this run uses one or both
START = Use(0, 0, 0)
ALONE, BESIDE_ONE, HALF_IDLE, TOO_EARLY = (
    [START, Use(20, 40, 40)], [START, Use(20, 40, 22)], [START, Use(20, 20, 10)], [START, Use(5, 10, 5)])


@pytest.mark.parametrize(("seen", "others"), [
    (ALONE, None), (BESIDE_ONE, "0.9"), (HALF_IDLE, None), (TOO_EARLY, None), ([None, None], None),
    ([START, Use(20, 40, 40), Use(40, 80, 60)], "1.0")])
def test_others_are_mentioned_only_where_they_take_cores_from_the_run(seen, others, monkeypatch):
    monkeypatch.setattr(busy.os, "cpu_count", lambda: 2)
    said, readings = list[str](), iter(seen)
    watcher = BusyMachine(said.append, lambda: next(readings))
    watcher.on_train_begin(None)
    for _ in seen[1:]:
        watcher.on_log(None, {})
    assert [line.split()[4] for line in said] == ([] if others is None else [others])


def test_they_are_mentioned_once(monkeypatch):
    monkeypatch.setattr(busy.os, "cpu_count", lambda: 2)
    said, clock = list[str](), iter(range(0, 1000, 20))
    watcher = BusyMachine(said.append, lambda: Use(now := next(clock), 2.0 * now, now))
    watcher.on_train_begin(None)
    for _ in range(5):
        watcher.on_log(None, {})
    assert len(said) == 1


def test_the_system_is_read(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 20 30 5000 60 7 8 9 0 0\ncpu0 1 2 3\n")
    found = use_now(tmp_path / "stat")
    assert found.everybody == pytest.approx(165 / os.sysconf("SC_CLK_TCK"))
    assert use_now(tmp_path / "none") is None


@pytest.mark.parametrize(("words", "count"), [
    (["generate", "nothing", "x", "--threads", "3"], "3"), (["generate", "--threads=1", "nothing", "x"], "1"),
    (["eval", "nothing", "--threads", "2", "--threads", "4"], "4"), (["train", "nothing", "--threads", "1_0"], "10"),
    (["patches", "nothing", "x", "--threads", "1"], "1"), (["generate", "nothing", "--", "--threads"], "7")])
def test_threads(words, count, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert main(words) == 2 and "nothing" in capsys.readouterr().err  # that run isn't there
    assert os.environ["OMP_NUM_THREADS"] == count


@pytest.mark.parametrize("value", ["0", "-1", "nan", "1e9", "two", "99999", ""])
def test_numbers_of_threads_that_are_refused(value, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert main(["generate", "nothing", "x", f"--threads={value}"]) == 2
    assert "--threads" in capsys.readouterr().err and os.environ["OMP_NUM_THREADS"] == "7"


def test_threads_where_there_is_one(capsys):
    assert main(["zip", "nothing", "x", "-o", "y", "--threads", "2"]) == 2
    assert "there is no flag --threads" in capsys.readouterr().err
