"""Beside other busy programs: how threads wait, and the word that others use the cores."""

from __future__ import annotations

import importlib
import os

import pytest

import stlm
from stlm.cli import busy, main
from stlm.cli.busy import BusyMachine, Use, use_now


@pytest.mark.parametrize(("environment", "count"), [
    ({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, None)])
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(environment, count, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    importlib.reload(stlm)
    assert os.environ.get("GOMP_SPINCOUNT") == count


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
