"""A new kind of task is one file: `stlm eval` runs it, keeps its answers, and shows it, and nothing else is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import TINY, stlm

from stlm.cli import main, task_list
from stlm.cli.usage import verb_usage
from stlm.config import slot
from stlm.config.slot import kinds
from stlm.evaluate import benchmark, task
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.task import TaskConfig, choose, find

COLOURS = '''"""Which colour a thing has: a task that a test made up."""

from stlm.evaluate.grid import Grid
from stlm.evaluate.item_task import ItemTask
from stlm.evaluate.items import multiple_choice

THINGS = {"snow": "white", "coal": "black", "grass": "green", "blood": "red"}


class Config(ItemTask):
    title = "Colours"
    groups = ("made_up",)

    def items(self, data):
        colours = list(THINGS.values())
        return [multiple_choice(f"The {thing} is", colours, number, (thing,)) for number, thing in enumerate(THINGS)], "a test"

    def tables(self, found):
        return [Grid("Tints", ("", "cell"), [("here", "there")])]
'''
BYTES = '''"""How many bytes it writes: the smallest task that there can be."""

from stlm.evaluate.task import TaskConfig


class Config(TaskConfig):
    options = ("text",)

    def run(self, context):
        documents = context.held_out().documents
        written = context.scorer.write([documents[0].decode()[:20]], 12, [], 0.0)
        context.progress(1.0)
        return {"n": 1, "written,none": float(len(written[0].encode()))}
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a tiny trained run that looked at one of the tasks, and the tasks."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("STLM_CACHE", str(folder / "cache"))
        Path("mine_tasks").mkdir()
        Path("mine_tasks/colours.py").write_text(COLOURS)
        Path("mine_tasks/n_written.py").write_text(BYTES)
        Path("tiny.toml").write_text(TINY + 'tasks = ["mine_tasks.colours"]\ntasks_every = 6\n')
        patch.syspath_prepend(folder)
        assert main(["train", "tiny.toml", "--name", "tiny"]) == 0
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    monkeypatch.setenv("STLM_CACHE", str(home / "cache"))


def recorded():
    return json.loads(Path("runs/tiny/eval/results.json").read_text())


def test_a_task_of_ones_own_is_scored_and_shown(capsys):
    status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "mine_tasks.colours,world", "--limit", "3")
    assert status == 0 and "Colours" in said and "Tints" in said and "built-in pairs" in said
    found, name = recorded(), "mine_tasks.colours"
    row = found["results"][name]
    assert row["alias"] == "Colours" and row["n"] == 3 and row["published"] == 4 and row["subset_seed"] == 0
    assert row["source"] == "a test" and row["chance"] == 0.25 and 0 <= row["acc,none"] <= 1
    assert found["n-samples"][name] == {"original": 4, "effective": 3} and len(found["group_subtasks"][name]) == 3
    page = Path("runs/tiny/eval/scores.html").read_text()
    assert "Colours" in page and "Tints" in page


def test_its_answers_are_kept(capsys, monkeypatch):
    """An evaluation that was killed goes on with what it had, in the task's own file."""
    monkeypatch.setattr(benchmark, "CHUNK", 1)
    command = ("eval", "tiny", "--tasks", "mine_tasks.colours")
    assert stlm(capsys, *command)[0] == 0
    kept, whole = Path("runs/tiny/eval/samples_mine_tasks.colours.jsonl"), recorded()["results"]["mine_tasks.colours"]
    lines = kept.read_text().splitlines()
    assert json.loads(lines[0])["task"] == "mine_tasks.colours" and len(lines) == 5
    kept.write_text("\n".join(lines[:3]) + "\n")
    asked, likelihoods = list[int](), NativeScorer.likelihoods
    monkeypatch.setattr(NativeScorer, "likelihoods", lambda self, pairs, *more: asked.append(len(pairs)) or likelihoods(
        self, pairs, *more))
    assert stlm(capsys, *command)[0] == 0
    assert asked == [4, 4] and recorded()["results"]["mine_tasks.colours"] == whole


def test_training_looks_at_it():
    lines = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval/mine_tasks.colours/acc" in line] == [6, 12]


def test_the_smallest_task(capsys):
    """No title, no items, no base but the contract's."""
    Path("story.txt").write_text("Nora lost her silver bell. " * 30)
    status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "mine_tasks.n_written", "--text", "story.txt")
    assert status == 0 and "mine_tasks.n_written" in said and "written" in said
    assert recorded()["results"]["mine_tasks.n_written"]["alias"] == "mine_tasks.n_written"


def test_a_task_that_has_gone_is_still_on_the_page(capsys, home):
    Path("mine_tasks/gone.py").write_text(COLOURS.replace("Colours", "A task that goes"))
    assert stlm(capsys, "eval", "tiny", "--tasks", "mine_tasks.gone")[0] == 0
    Path("mine_tasks/gone.py").unlink()
    sys.modules.pop("mine_tasks.gone")
    assert stlm(capsys, "eval", "tiny", "--tasks", "world", "--limit", "5")[0] == 0
    assert "A task that goes" in Path("runs/tiny/eval/scores.html").read_text()


def test_a_file_in_the_package_is_a_kind(capsys, tmp_path, monkeypatch):
    (tmp_path / "colours.py").write_text(COLOURS)
    monkeypatch.setattr(task, "__path__", [*task.__path__, str(tmp_path)])
    files = {**slot.files_of(task_list.PACKAGE), "colours": tmp_path / "colours.py"}
    for module in (slot, task_list):
        monkeypatch.setattr(module, "files_of", lambda package, whole=slot.files_of: (
            files if package == task_list.PACKAGE else whole(package)))
    try:
        assert "colours" in {one.kind for one in choose("all")} and [one.kind for one in choose("made_up")] == ["colours"]
        rows = dict(task_list.task_rows())
        assert rows["  colours"] == "Which colour a thing has: a task that a test made up" and rows["  made_up"] == "colours"
        status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "colours")
        assert status == 0 and "Colours" in said and recorded()["results"]["colours"]["n"] == 4
    finally:
        sys.modules.pop("stlm.evaluate.task.colours", None)


def test_what_is_no_task_is_refused(capsys):
    Path("mine_tasks/empty.py").write_text("")
    Path("mine_tasks/partial.py").write_text("from stlm.evaluate.task import TaskConfig\n\nclass Config(TaskConfig): pass\n")
    for name, message in (("empty", "needs a class Config"), ("partial", "lacks run")):
        status, _, said = stlm(capsys, "eval", "tiny", "--tasks", f"mine_tasks.{name}")
        assert status == 2 and message in said and "mine_tasks." in said and len(said.strip().splitlines()) == 1


def test_help_lists_every_kind_and_group():
    """As they are declared, though help reads them without importing the kinds."""
    listed = {name.strip(): text for name, text in task_list.task_rows()}
    assert all(f"\n    {name} " in verb_usage("eval") for name in listed)
    for kind in kinds(TaskConfig):
        assert listed[kind], f"{kind}: the first line of its docstring says what it is"
        assert find(kind).title
    groups = {group for kind in kinds(TaskConfig) for group in find(kind).groups}
    assert groups == {"paper", "glue"}
    for group in groups:
        assert listed[group].split(", ") == [one.kind for one in choose(group)]
    assert set(listed) == {*kinds(TaskConfig), *groups, "all", "mine.my_task"}


def test_help_imports_no_task():
    code = ("import sys; from stlm.cli import main; main(['eval', '--help']); "
            f"assert not {{'torch', 'numpy', 'rich', '{task_list.PACKAGE}'}} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_bits_say_how_they_were_counted(capsys):
    Path("story.txt").write_text("Nora lost her silver bell. " * 30)
    assert stlm(capsys, "eval", "tiny", "--text", "story.txt")[0] == 0
    assert recorded()["results"]["bits"]["protocol"] == {"seq_len": 256, "overlap": 128, "bytes": 27 * 30}
