"""Damaged runs: whatever is done to one, a command works or says in a line why it doesn't."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot

from stlm.config.files import strict_json
from tests.fuzz.damage import damage
from tests.fuzz.watch import call, examples, hunting, snapshot
from tests.train.tiny import TINY

WATCHED = TINY + """averaging = {kind = "ema", decay = 0.5}
evaluate_every = 2
checkpoint_every = 2
sample_every = 4
"""
WAYS = {"bytes": [], "bpe": ["--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", "270", "--model.patching", "none",
                             "--model.pooling", "last"]}
COMMANDS = [["generate", "r", "The", "--max-bytes", "4"], ["patches", "r", "A few words."], ["params", "r"],
            ["eval", "r", "--tasks", "bits", "--text", "few.txt", "--output", "scores"], ["publish", "r", "small"],
            ["zip", "r", "few.txt", "-o", "few.z"],
            ["train", "tiny.toml", "--name", "r", "--resume", "--train.steps", "5", "--train.batch-size", "2"],
            ["train", "tiny.toml", "--name", "r", "--resume"], ["report", "r"]]


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Don't write out pictures, which takes longer than all else, but for the long hunt."""
    if not hunting():
        monkeypatch.setattr("stlm.report.run_page.svg", lambda figure: pyplot.close(figure) or "")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Folders with a good run each."""
    made = {}
    for way, flags in WAYS.items():
        made[way] = home = tmp_path_factory.mktemp(way)
        (home / "tiny.toml").write_text(WATCHED)
        (home / "text.txt").write_text("".join(f"The heron waited for {n} boats; the cat found {n % 7}.\n" for n in range(150)))
        (home / "few.txt").write_text("The heron found 3 boats.")
        done = call(["train", "tiny.toml", "--data", "text.txt", "--name", "r", *flags], home)
        assert done.status == 0 and not done.faults, done
    return made


@examples(12)
@given(data=st.data())
def test_a_damaged_run(runs, tmp_path_factory, data):
    place = tmp_path_factory.mktemp("case")
    home, outside = place / "home", place / "outside"
    shutil.copytree(runs[data.draw(st.sampled_from(sorted(runs)))], home)
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    damage(home / "runs" / "r", data)
    before = snapshot(home)
    done = call(data.draw(st.sampled_from(COMMANDS)), home, [outside, home / "text.txt", home / "few.txt", home / "tiny.toml"])
    assert not done.faults, "\n".join([*done.faults, done.err])
    assert not (home / "bomb").exists()
    check_numbers(home, before)
    shutil.rmtree(place)


def check_numbers(home: Path, before: dict[str, str]) -> None:
    """What the command has written is JSON, without NaN."""
    for name, content in snapshot(home).items():
        if before.get(name) != content and Path(name).suffix in (".json", ".jsonl") and Path(name).is_file():
            for line in Path(name).read_bytes().splitlines() if name.endswith("l") else [Path(name).read_bytes()]:
                assert isinstance(strict_json(line), dict), name


def test_damage_is_seen(runs, tmp_path):
    """The test can fail: a check that is left out lets a command end in a traceback."""
    shutil.copytree(runs["bytes"], tmp_path / "home")
    (tmp_path / "home" / "runs" / "r" / "results.json").write_text(json.dumps({"parameters": 3}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlm.report.run_page.UserError", ValueError)
        assert "ValueError" in call(["report", "r"], tmp_path / "home").faults[0]
    assert call(["report", "r"], tmp_path / "home").status == 2
