"""Every verb that takes a text takes the same texts, with the same options, and says what it reads."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from tests.cli.conftest import TINY, make_quick, stlm, train

from stlm.compare.job import _beginnings
from stlm.evaluate.texts import Texts

LINE = "Anna wanted to find her red kite. "


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        train(folder, "tiny.toml", "--name", "tiny", "--train.steps", "2")
    return folder


@pytest.fixture(autouse=True)
def at_home(home, tmp_path, monkeypatch):
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("story.jsonl").write_text("".join(json.dumps({"story": LINE * 20, "text": 3}) + "\n" for _ in range(3)), "utf-16")
    Path("notes").mkdir()
    Path("notes/a.md").write_text(LINE * 40, "utf-8-sig")
    Path("notes/b.md").write_bytes(b"\0" * 40)
    with zipfile.ZipFile("notes/c.zip", "w") as archive:
        archive.writestr("c.txt", LINE * 20)


def scored() -> dict:
    return json.loads(Path("runs/tiny/eval/results.json").read_text())["results"]


@pytest.mark.parametrize("flag", ["--field", "--data.field"])
def test_the_field_of_a_text(capsys, flag):
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "story.jsonl", flag, "story")
    assert status == 0, said
    assert scored()["bits"]["bytes"] == 3 * 20 * len(LINE)
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "story.jsonl")
    assert status == 2 and "the fields with strings are 'story'; choose one with --field" in said
    status, _, said = stlm(capsys, "eval", "tiny", flag, "story")
    assert status == 2 and "give --text too" in said
    status, _, said = stlm(capsys, "train", "tiny.toml", "--data", "story.jsonl", "--name", "x")
    assert status == 2 and "choose one with --field" in said and not Path("runs/x").exists()


def test_scoring_says_what_it_reads_and_takes_several_texts(capsys):
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "~/notes")
    assert status == 0 and "folder notes: 2 files; 1 passed over: 1 binary (b.md)\n" in said
    assert scored()["bits"]["bytes"] == 60 * len(LINE)
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "~/notes/a.md,story.jsonl", "--field", "story")
    assert status == 0, said
    assert scored()["bits"]["bytes"] == 100 * len(LINE) and scored()["bits"]["n"] == 4
    texts = Texts("~/notes/a.md,story.jsonl", field="story")  # as the tasks about writing read them
    assert len(texts.held_out(None, 0).documents) == 4 and b"".join(texts.known()).startswith(LINE.encode())
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "notes/b.md")
    assert status == 2 and "this is a binary file" in said


@pytest.mark.usefixtures("no_report")
def test_training_says_what_it_reads(capsys):
    Path("notes/train-journeys.md").write_text("x" * 500)
    status, _, said = stlm(capsys, "train", "tiny.toml", "--data", "notes", "--name", "n", "--train.steps", "1")
    assert status == 0, said
    total = 60 * len(LINE) + 500
    assert (f"runs/n: folder notes, 1 document, 0.001 MB to train on; 3 documents, {total // 2 / 1000:.1f} kB held out, "
            "more than usual, because the text is short; 3 files; 1 passed over: 1 binary (b.md)\n") in said
    Path("notes/validation.md").write_text("y" * 300)
    Path("notes/train.md").write_text("z" * 3000)
    status, _, said = stlm(capsys, "train", "tiny.toml", "--data", "notes", "--name", "m", "--train.steps", "1")
    assert status == 0, said
    assert ("runs/m: folder notes, 1 document, 0.003 MB to train on; 1 document, 0.3 kB held out, which is little: "
            "its score will be rough; 2 files; 4 passed over: 1 binary (b.md), "
            "3 named for no split (a.md, c.zip/c.txt, train-journeys.md)\n") in said


@pytest.mark.usefixtures("no_report")
def test_a_folder_with_our_own_folders_in_it(capsys):
    for words in (("train", "tiny.toml", "--data", ".", "--name", "here", "--field", "story"), ("publish", "here", "small"),
                  ("eval", "here", "--tasks", "bits"), ("eval", "small", "--text", "notes", "--output", "scores")):
        steps = ["--train.steps", "2"] if words[0] == "train" else []
        assert stlm(capsys, *words, *steps)[0] == 0
    status, _, said = stlm(capsys, "train", "tiny.toml", "--name", "here", "--resume", "--train.steps", "3")
    assert status == 0 and "passed over" in said and "of stlm's own (scores, models/small, runs/here, ...)" in said


def test_patches_of_a_text_from_a_file(capsys):
    status, out, said = stlm(capsys, "patches", "tiny", "--text", "~/story.jsonl", "--field", "story")
    assert status == 0, said
    assert "".join(line for line in out.splitlines()[1::2] if "|" in line).replace("|", "") == (LINE * 20)[:600]
    assert stlm(capsys, "patches", "tiny", "--text", "notes/c.zip")[0] == 0
    for words, message in (((), "give a run and a text"), (("--text", "nowhere"), "no such file"),
                           (("--field", "x"), "give --text"),
                           (("--text", "notes/b.md"), "binary"), (("--text",), "expected one argument")):
        status, out, said = stlm(capsys, "patches", "tiny", *words)
        assert (status, out) == (2, "") and message in said


def test_packing_keeps_every_byte_and_finds_homes(capsys):
    data = "\ufeffwords\r\n".encode("utf-16")
    Path("a.txt").write_bytes(data)
    assert stlm(capsys, "zip", "tiny", "~/a.txt", "--output=~/a.stlm")[0] == 0
    assert stlm(capsys, "unzip", "tiny", "~/a.stlm", "-o", "~/b.txt")[0] == 0
    assert Path("b.txt").read_bytes() == data


@pytest.mark.parametrize("name", ["notes", "notes/a.md", "notes/c.zip", "~/notes/a.md"])
def test_further_texts_of_a_comparison(name):
    assert b"".join(_beginnings(name)).startswith(LINE.encode())
