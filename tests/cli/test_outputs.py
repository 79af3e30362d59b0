"""Nothing that the user names is replaced unasked, and devices, pipes and links stay what they are."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from tests.cli.conftest import stlm
from tests.fuzz.watch import snapshot

TEXT = b"Anna wanted to find her red kite."


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def letter(trained):
    pytest.importorskip("constriction", reason="the extra stlm[eval] is not installed")
    Path("letter.txt").write_bytes(TEXT)


def link_to_a_file():
    Path("target").write_bytes(b"keep me")
    Path("out").symlink_to("target")


IN_THE_WAY = {
    "a file": (lambda: Path("out").write_bytes(b"keep me"), "out", "a file of that name exists already; choose another"),
    "a link": (link_to_a_file, "out", "a link of that name exists already"),
    "a link to nothing": (lambda: Path("out").symlink_to("nowhere/file"), "out", "a link of that name exists already"),
    "a folder": (lambda: Path("out").mkdir(), "out", "a folder is there"),
    "the input": (lambda: None, "letter.txt", "this is the file that is read"),
    "a link to the input": (lambda: Path("out").symlink_to("letter.txt"), "out", "this is the file that is read"),
    "another name of the input": (lambda: os.link("letter.txt", "out"), "out", "this is the file that is read"),
    "a folder that isn't there": (lambda: None, "nowhere/out", "there is no folder"),
    "a file as a folder": (lambda: Path("out").write_bytes(b"keep me"), "out/in", "there is no folder"),
    "a socket": (lambda: os.mknod("out", 0o140600), "out", "this device can't be written to"),
}


@pytest.mark.parametrize("verb", ["zip", "unzip"])
@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_stands_in_the_way_is_told_before_the_work(capsys, monkeypatch, letter, verb, case):
    prepare, output, message = IN_THE_WAY[case]
    monkeypatch.setattr(f"stlm.cli.{verb}.{'pack' if verb == 'zip' else 'unpack'}", lambda *about: pytest.fail("it worked"))
    prepare()
    before = snapshot(Path())
    status, _, err = stlm(capsys, verb, "mine", "letter.txt", "-o", output)
    assert status == 2 and message in err and snapshot(Path()) == before


def test_force_replaces_a_file_and_keeps_a_link(capsys, letter):
    link_to_a_file()
    assert stlm(capsys, "zip", "mine", "letter.txt", "-o", "out", "--force")[0] == 0
    assert Path("out").is_symlink() and Path("target").read_bytes().startswith(b"STLMzip")
    Path("back.txt").write_bytes(b"something old")
    assert stlm(capsys, "unzip", "mine", "out", "-o", "back.txt", "--force")[0] == 0
    assert Path("back.txt").read_bytes() == TEXT
    assert stlm(capsys, "zip", "mine", "letter.txt", "-o", "letter.txt", "--force")[0] == 2
    assert Path("letter.txt").read_bytes() == TEXT


def test_a_pipe_and_a_device_take_the_result(capsys, letter):
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    assert stlm(capsys, "zip", "mine", "letter.txt", "-o", "pipe")[0] == 0
    reader.join(10)
    assert read[0].startswith(b"STLMzip") and Path("pipe").is_fifo()
    assert stlm(capsys, "zip", "mine", "letter.txt", "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()
    status, _, err = stlm(capsys, "zip", "mine", "letter.txt", "-o", "/dev/full")
    assert status == 2 and "/dev/full: cannot be written (No space left on device)" in err


SCORE = ("eval", "mine", "--text", "letter.txt", "--output", "scores")


def put(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(("path", "text", "message"), [
    ("scores", "a file", "is no folder"), ("scores/scores.html", "a page", "a file of that name exists already"),
    ("scores/samples_blimp.jsonl", "{}", "a file of that name exists already"),
    ("scores/results.json", json.dumps({"fingerprint": "0", "results": {}}), "these are scores of another model"),
    ("scores/results.json", "my notes", "not a readable JSON record")])
def test_a_folder_of_something_else_takes_no_scores(capsys, letter, path, text, message):
    put(path, text)
    before = snapshot(Path())
    status, _, err = stlm(capsys, *SCORE)
    assert status == 2 and message in err and snapshot(Path()) == before


def test_scores_go_beside_what_is_there(capsys, letter):
    put("scores/notes.txt", "mine")
    put("scores/below/scores.html", "mine too")
    for _ in range(2):  # the second time they're this model's own
        assert stlm(capsys, *SCORE)[0] == 0
    assert Path("scores/notes.txt").read_text() == "mine" and Path("scores/below/scores.html").read_text() == "mine too"
    record = json.loads(Path("scores/results.json").read_text())
    Path("scores/results.json").write_text(json.dumps({**record, "fingerprint": "0"}))
    assert stlm(capsys, *SCORE, "--force")[0] == 0
    assert json.loads(Path("scores/results.json").read_text())["fingerprint"] == record["fingerprint"]


def test_scores_outlive_their_page(capsys, monkeypatch, letter):
    monkeypatch.setattr("stlm.report.scores_page.render", lambda *about, **more: [][1])
    status, _, err = stlm(capsys, *SCORE)
    assert status == 0 and "report:  not written (list index out of range)" in err
    assert json.loads(Path("scores/results.json").read_text())["results"]


@pytest.mark.parametrize("blocked", ["results", "runs", "results/recipe"])
def test_a_comparison_looks_at_its_folders_first(capsys, blocked):
    Path("recipe.py").write_text("from stlm.compare.recipe import Recipe\nRECIPE = Recipe(question='', rule='', equal='steps', "
                                 "amount=2, arms={'one': 'demo'}, baseline='one')\n")
    put(blocked, "a file")
    status, _, err = stlm(capsys, "compare", "recipe.py")
    assert status == 2 and "is no folder" in err


@pytest.mark.parametrize("verb", ["zip", "unzip", "eval", "publish"])
def test_the_flag_is_the_same_in_all_verbs(capsys, verb):
    assert "--force" in stlm(capsys, verb, "--help")[1]
