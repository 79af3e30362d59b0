"""A comparison from the recipe to the report: runs are shared, killed ones go on, and faults say what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from stlm.cli import main
from stlm.compare import job, launch
from stlm.compare.comparison_page import _end, write_page
from stlm.compare.job import Run
from stlm.compare.plan import make_plan
from stlm.compare.recipe import Recipe

TINY = ("demo --model.dim 16 --model.layers 1 --model.trunk.heads 2 --model.local-dim 8 --model.embedding tokens "
        "--model.copying none --train.seq-len 64 --train.batch-size 2 --train.precision fp32 --train.compile off "
        "--train.warmup 1")
RECIPE = f"""
import os
from stlm.compare.recipe import Recipe
TINY = "{TINY}"
RECIPE = Recipe(question="Does it matter?", rule="The lowest mean.", equal="megabytes", amount=0.002,
                every="--data $TEXT --train.evaluate-every 5",
                arms={{"words": TINY, "strides": TINY + " --model.patching stride",
                       "by entropy": TINY + " --model.patching entropy --model.patching.run {{reader}}"}},
                first={{"reader": "reader --data $TEXT --train.steps 2 --train.seq-len 64 --train.precision fp32"}},
                baseline="words", against=("strides",), seeds=(0, 1), texts={{"other": "$TEXT"}},
                tasks=("world",), tasks_limit=20)
"""


class Here(launch.Job):
    """A run that is trained and measured in this process, when it is started: a process of its own imports torch twice."""

    def __init__(self, run: Run, threads: int, device: str) -> None:
        super().__init__(run)
        self.device = device
        self.run.folder.mkdir(parents=True, exist_ok=True)
        assert device == "cpu" and run.carry_out(device) == 0

    def over(self) -> bool:
        return True

    def stop(self) -> None:
        """It is over."""


def run_here(command, **keywords):
    """What `subprocess.run` does, for ``python -m stlm``."""
    if command[1:3] != ["-m", "stlm"]:
        return subprocess.run(command, **keywords)
    return SimpleNamespace(returncode=main(command[3:]))


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """A folder in which a small recipe was run."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "text.txt").write_text("The cat sat on the mat, and the dog lay by the door. " * 200)
    (folder / "tiny.py").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TEXT", str(folder / "text.txt"))
        patch.setattr(launch, "Process", Here)
        patch.setattr(job, "subprocess", SimpleNamespace(run=run_here))
        patch.setattr("stlm.compare.writing.WRITTEN", 16)
        patch.setattr(job, "FURTHER", 2000)
        patch.setattr("stlm.cli.train.write_report", lambda folder: None)  # pictures take longer than training
        patch.setattr("stlm.cli.train.check_fits", lambda *about: None)
        patch.setattr("stlm.cli.compare_display.write_page", last(write_page))
        assert main(["compare", "tiny.py", "--jobs", "2", "--device", "cpu"]) == 0
    return folder


def last(write):
    """The page that is written when all runs were measured in turns; those before it, of fewer runs, are left out."""
    return lambda plan, found: all(run.finished and run.timed_in_turns for _, _, run in plan.runs()) and write(plan, found)


def test_the_device_of_training_and_measuring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    failing = SimpleNamespace(run=lambda command, **_: said.append(command) or SimpleNamespace(returncode=1))
    monkeypatch.setattr(job, "subprocess", failing)
    assert Run("one", ["demo"], {}).carry_out("cuda:1") == 1 and said[0][-2:] == ["--device", "cuda:1"]
    checkpoint = SimpleNamespace(build_model=lambda: torch.nn.Identity(), tokenizer=None, config=SimpleNamespace(train=None))
    monkeypatch.setattr(job, "placed", lambda model, tokenizer, wanted: said.append(wanted) or model)
    monkeypatch.setattr(job, "bytes_per_second", lambda model, tokenizer: 1.0)
    assert job.measure(checkpoint, {}, "cuda:1")["texts"] == {} and said[1] == "cuda:1"


def test_the_record(compared):
    record = json.loads((compared / "results" / "tiny" / "results.json").read_text())
    assert {"question", "rule", "held_equal", "arms", "first"} <= record.keys()
    assert list(record["arms"]) == ["words", "strides", "by entropy"]
    for arm in record["arms"].values():
        assert [run["seed"] for run in arm["seeds"]] == [0, 1]
        assert arm["n"] == 2 and arm["std"] > 0 and arm["interval"][0] < arm["mean"] < arm["interval"][1]
        for run in arm["seeds"]:
            assert run["trained_bytes"] == pytest.approx(2000, rel=0.1)
            assert 0 < run["texts"]["other"] < 9 and run["written_bytes_per_second"] > 0
            assert json.loads((compared / "runs" / run["run"] / "measures.json").read_text())["in_turns"]
            how = run["provenance"]
            assert how["threads"] == 1 and how["precision"] == "fp32" and how["compile"] == "off"
            n_bytes, seconds, flops, bits = run["curve"][-1]
            assert (n_bytes, flops) == (run["trained_bytes"], run["flops"]) and seconds > 0 and 0 < bits < 9
    assert list(record["arms"]["words"]["p"]) == ["strides"] and 0 < record["arms"]["strides"]["p"]["words"] < 1
    assert record["arms"]["by entropy"]["uses"] == ["reader"] and set(record["arms"]["by entropy"]["p"]) == {"words", "strides"}
    assert record["first"]["reader"]["steps"] == 2
    assert record["arms"]["strides"]["seeds"][0]["bytes_per_patch"] == pytest.approx(4, rel=0.1)


def test_benchmarks_at_the_end(compared):
    record = json.loads((compared / "results" / "tiny" / "results.json").read_text())
    for arm in record["arms"].values():
        shares = [run["scores"]["world/acc"] for run in arm["seeds"]]
        assert all(0 <= share <= 1 for share in shares)
        assert arm["scores"]["world/acc"]["mean"] == pytest.approx(sum(shares) / 2)
        assert (arm["scores"]["world/acc"]["p"] is None) == (arm is record["arms"]["words"])
    assert record["comparisons"] == 2


def test_the_page_is_whole_and_alone(compared):
    page = (compared / "results" / "tiny" / "report.html").read_text()
    assert all(word in page for word in ("Does it matter?", "words", "strides", "by entropy", "<svg", "How each reads"))
    assert "<script" not in page and not re.search(r"(src|href)=.https?:", page)
    assert all((compared / "results" / "tiny" / f"{name}.svg").read_text() in page
               for name in ("means", "parameters", "flops", "milliseconds"))


def test_speeds_are_of_finished_runs_that_take_turns(compared, monkeypatch):
    """Each round asks all, and each keeps its median."""
    speeds = iter([1.0, 20.0, 3.0, 10.0, 2.0, 30.0])
    monkeypatch.chdir(compared)
    monkeypatch.setattr(job, "bytes_per_second", lambda model, tokenizer: next(speeds))
    runs = [Run(path.parent.name, [], {}) for path in sorted(compared.glob("runs/demo-*/measures.json"))[:2]]
    before, seen = [run.found()["written_bytes_per_second"] for run in runs], []
    job.time_decoding(runs, lambda: seen.append(None))
    assert [run.found()["written_bytes_per_second"] for run in runs] == [2.0, 20.0] and len(seen) == 6
    for run, speed in zip(runs, before, strict=True):
        run.set_decoding_time(speed)


def test_pictures_leave_no_room_for_what_is_far_above():
    assert _end([1.0, 1.1, 1.2]) == 1.2
    assert 1.2 < _end([1.0, 1.1, 1.2, 1.25, 9.0]) < 2.0


def test_finished_runs_are_used_again(compared, monkeypatch, capsys):
    monkeypatch.chdir(compared)
    monkeypatch.setenv("TEXT", str(compared / "text.txt"))
    monkeypatch.setattr(launch, "Process", None)  # nothing may be started
    assert main(["compare", "tiny.py"]) == 0
    assert "bits per byte" in capsys.readouterr().err


@pytest.fixture
def before(compared, tmp_path, monkeypatch):
    """The record of that recipe, carried with it to a folder where the text lies in another place and no run's folder is, and
    where nothing can be started.
    """
    for name in ("tiny.py", "text.txt", "results/tiny/results.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((compared / name).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXT", str(tmp_path / "text.txt"))
    monkeypatch.setattr(launch, "Process", None)
    return (tmp_path / "results/tiny/results.json").read_text()


def test_runs_on_record_are_not_run_again(before, tmp_path, capsys):
    """Elsewhere, the record is enough."""
    assert main(["compare", "tiny.py"]) == 0
    said = capsys.readouterr().err
    assert "6 runs are in the record" in said and "6 finished already, 0 to train" in said
    after = json.loads((tmp_path / "results" / "tiny" / "results.json").read_text())
    assert after == json.loads(before)
    assert "How each reads" in (tmp_path / "results" / "tiny" / "report.html").read_text()


@pytest.mark.slow
def test_a_comparison_that_is_killed_goes_on(compared, tmp_path):
    """SIGKILL in the middle of a run: the runs that had ended aren't trained again, the one at work goes on, and all ends as it
    had without.
    """
    (tmp_path / "text.txt").write_text((compared / "text.txt").read_text())
    (tmp_path / "tiny.py").write_text(RECIPE.replace("arms={", "arms={arm: words for arm, words in {").replace(
        '--model.patching.run {reader}"}', '--model.patching.run {reader}"}.items() if "--model.patching.run" not in words}'))
    env = {**os.environ, "TEXT": str(tmp_path / "text.txt"), "STLM_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "stlm", "compare", "tiny.py", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record, deadline = tmp_path / "results" / "tiny" / "results.json", time.monotonic() + 120
    while not record.exists() or len(list((tmp_path / "runs").iterdir())) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    ended = {path.with_name("results.json"): path.with_name("results.json").stat().st_mtime
             for path in (tmp_path / "runs").glob("*/measures.json")}
    again = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert ended and all(path.stat().st_mtime == at for path, at in ended.items())
    both = [json.loads((folder / "results" / "tiny" / "results.json").read_text())["arms"] for folder in (compared, tmp_path)]
    for arm, found in both[1].items():
        for one, other in zip(both[0][arm]["seeds"], found["seeds"], strict=True):
            assert one["run"] == other["run"]
            assert one["val/bits_per_byte"] == pytest.approx(other["val/bits_per_byte"], rel=1e-6)


def test_runs_that_a_changed_recipe_no_longer_has_are_kept(before, tmp_path, capsys):
    """Two arms less: their runs leave the record, and a copy of it stays."""
    alone = RECIPE.replace('against=("strides",), ', "")
    (tmp_path / "tiny.py").write_text(alone.replace("arms={", "arms={arm: words for arm, words in {").replace(
        '--model.patching.run {reader}"}', '--model.patching.run {reader}"}.items() if arm == "words"}'))
    assert main(["compare", "tiny.py"]) == 0
    assert "no longer describes" in capsys.readouterr().err
    assert (tmp_path / "results" / "tiny" / "earlier-1.json").read_text() == before
    assert list(json.loads((tmp_path / "results" / "tiny" / "results.json").read_text())["arms"]) == ["words"]


def test_a_name_stands_for_one_description(monkeypatch):
    recipe = Recipe("?", "!", "minutes", 1.0, {"a": "demo", "b": "demo --model.layers 3"}, "a")
    one, two = make_plan(["x.py"], recipe, 1), make_plan(["x.py"], recipe, 2)
    names = [run.name for plan in (one, two) for _, _, run in plan.runs()]
    assert len(set(names)) == len(names) == 12  # minutes on one core aren't minutes on two
    alike = dataclasses.replace(recipe, equal="megabytes")
    assert make_plan(["x.py"], alike, 1) == make_plan(["x.py"], alike, 2)
    assert [(arm, seed) for arm, seed, _ in one.runs()][:3] == [("a", 0), ("b", 0), ("a", 1)]
