"""``stlm eval``, ``zip`` and ``unzip``, as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import PAIRS, TINY, stlm, train

from stlm.evaluate import quality
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.task import progression


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a tiny trained run and a text."""
    folder = tmp_path_factory.mktemp("home")
    looks = 'tasks = ["world"]\ntasks_every = 6\ntasks_limit = 20\n'
    (folder / "tiny.toml").write_text(TINY + looks)
    (folder / "text.txt").write_text("Anna wanted to find her red kite. " * 40)
    train(folder, "tiny.toml", "--name", "tiny")
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


def results():
    return json.loads(Path("runs/tiny/eval/results.json").read_text())


def test_looks_at_benchmarks_while_training():
    lines = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval/world/acc" in line] == [6, 12]


def test_without_any_data(capsys, monkeypatch):
    monkeypatch.setattr(quality, "MOST", 3)
    monkeypatch.setattr(progression, "MOST", 10)
    status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "world,bits,progression,writing", "--limit", "40")
    assert status == 0 and "built-in pairs" in said and "40 of 100 " in said and "bits_per_byte" in said
    found = results()
    assert found["n-samples"]["world"] == {"original": 4 * PAIRS, "effective": 40}
    assert {"acc,none", "acc_stderr,none", "alias", "chance"} <= found["results"]["world"].keys()
    assert "world_pronouns" in found["group_subtasks"]["world"] and 0 < found["results"]["bits"]["bits_per_byte,none"] < 9
    assert found["results"]["writing_written"]["distinct-1"] >= 0
    page = Path("runs/tiny/eval/scores.html").read_text()
    assert "What it writes" in page and "pronouns" in page and "<script" not in page
    assert stlm(capsys, "eval", "tiny", "--tasks", "world", "--limit", "30")[0] == 0
    assert results()["results"]["world"]["n"] == 30 and "bits" in results()["results"]
    assert stlm(capsys, "eval", "tiny", "--tasks", "world")[0] == 0
    assert results()["results"]["world"]["n"] == 4 * PAIRS


@pytest.mark.parametrize(("text", "subset", "shown"), [
    ("notes.jsonl", (), "notes.jsonl"), ("notes.jsonl", ("--limit", "3"), "3 of 4"),
    ("notes.jsonl", ("--limit", "3", "--seed", "1"), "drawn by seed 1"), ("also/notes.jsonl", (), "also/notes.jsonl"),
    ("also/notes.jsonl", ("--limit", "2"), "2 of 4")])
def test_the_score_is_of_the_text_that_was_asked_for(capsys, text, subset, shown):
    """Whatever was scored before it, with as many documents and under the same name."""
    for folder, line in ((".", "aaaa bbbb "), ("also", "9 7 5 3 1 ; ")):
        Path(folder).mkdir(exist_ok=True)
        Path(f"{folder}/notes.jsonl").write_text("".join(json.dumps({"text": line * (9 + n)}) + "\n" for n in range(4)))
    asked = ("eval", "tiny", "--text", text, *subset)
    assert stlm(capsys, *asked, "--output", "alone")[0] == 0
    alone = json.loads(Path("alone/results.json").read_text())
    assert stlm(capsys, "eval", "tiny", "--text", "notes.jsonl")[0] == 0
    status, _, said = stlm(capsys, *asked)
    assert status == 0 and shown in said and text in said
    for table in ("results", "configs", "n-samples"):
        assert results()[table]["bits"] == alone[table]["bits"]


def test_the_table_shows_what_was_asked_alone(capsys, real_data):
    assert stlm(capsys, "eval", "tiny", "--tasks", "arc_easy", "--limit", "5")[0] == 0
    status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "winogrande", "--limit", "5")
    own = next(line for line in said.splitlines() if line.strip().startswith("tiny ") and "M" in line)
    assert status == 0 and "ARC-easy" in said and own.count("*") == 1
    assert {"arc_easy", "winogrande"} <= results()["results"].keys()


def test_the_answers_of_the_whole_outlive_a_subset(capsys, monkeypatch):
    commands = [("eval", "tiny", "--tasks", "world", *more) for more in ((), ("--limit", "3"))]
    assert [stlm(capsys, *command)[0] for command in commands] == [0, 0] and results()["results"]["world"]["n"] == 3
    monkeypatch.setattr(NativeScorer, "likelihoods", None)
    assert stlm(capsys, *commands[0])[0] == 0 and results()["results"]["world"]["n"] == 4 * PAIRS


@pytest.mark.usefixtures("no_report")
def test_another_models_scores_do_not_stay(capsys):
    assert stlm(capsys, "train", "tiny.toml", "--name", "second", "--seed", "1", "--train.steps", "2")[0] == 0
    for model, task in (("tiny", "bits"), ("second", "world")):
        status, _, said = stlm(capsys, "eval", model, "--tasks", task, "--limit", "3", "--output", "shared", "--force")
        assert status == 0 and ("its scores are of other weights" in said) == (model == "second")
    found = json.loads(Path("shared/results.json").read_text())
    assert found["model_name"] == "second" and list(found["configs"]) == ["world"]
    assert {row["fingerprint"] for row in found["configs"].values()} == {found["fingerprint"]}


def test_a_record_of_something_else_is_left(capsys):
    Path("compared").mkdir(exist_ok=True)
    Path("compared/results.json").write_text('{"arms": []}')
    status, _, said = stlm(capsys, "eval", "tiny", "--tasks", "world", "--output", "compared")
    assert status == 2 and "no record of `stlm eval`" in said and Path("compared/results.json").read_text() == '{"arms": []}'


def test_the_benchmarks_of_the_paper(capsys, real_data):
    status, _, said = stlm(capsys, "eval", "tiny", "--limit", "20")
    assert status == 0 and "Beside others" in said and "Pythia-70m" in said and "BLiMP by phenomenon" in said
    assert set(results()["results"]) >= {"blimp", "hellaswag", "arc_easy", "winogrande", "mmlu", "mmlu_stem"}
    assert "BLiMP by phenomenon" in Path("runs/tiny/eval/scores.html").read_text()


def test_a_text_and_a_judge(capsys):
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "text.txt", "--device", "cpu")
    assert status == 0 and "bits per byte" in said and results()["results"]["bits"]["bytes"] == 34 * 40
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "text.txt", "--tasks", "writing", "--judge", "tiny")
    assert status == 0 and "bits per byte under the judge" in said


def test_a_folder_of_text_and_a_published_model(capsys):
    Path("texts").mkdir(exist_ok=True)
    for name, line in (("train", "The dog lay by the door. "), ("validation", "The cat sat on the mat. ")):
        Path(f"texts/{name}.jsonl").write_text("\n".join(json.dumps({"text": line * 40}) for _ in range(3)))
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "texts", "--limit", "2")
    assert status == 0 and "2 of 3" in said
    found = results()["results"]["bits"]
    assert found["bytes"] == 24 * 40 * 2 and found["published"] == 3 and found["subset_seed"] == 0  # what's named train is left
    assert stlm(capsys, "publish", "tiny", "small")[0] == 0
    status, _, said = stlm(capsys, "eval", "small", "--text", "texts", "--tasks", "writing,bits")
    assert status == 0, said
    found = json.loads(Path("runs/small/eval/results.json").read_text())
    assert found["results"]["writing"]["n"] == 3 and found["training"]["steps"] == 12 and found["training"]["flops"] > 0
    assert "Trained on world" in Path("runs/small/eval/scores.html").read_text()
    Path("few.jsonl").write_text("\n".join(json.dumps({"text": f"Too short, number {n}."}) for n in range(200)))
    status, _, said = stlm(capsys, "eval", "tiny", "--text", "few.jsonl", "--tasks", "writing")
    assert status == 2 and "long enough" in said


@pytest.mark.usefixtures("no_report")
def test_a_published_model_whose_text_is_elsewhere(capsys):
    Path("deep").mkdir()
    Path("deep/story.txt").write_text("Nora lost her silver bell. " * 60)
    assert stlm(capsys, "train", "tiny.toml", "--data", "deep/story.txt", "--name", "told", "--train.steps", "2")[0] == 0
    assert stlm(capsys, "publish", "told", "retold")[0] == 0
    status, _, said = stlm(capsys, "eval", "retold", "--tasks", "bits")
    assert status == 2 and "can't be opened (story.txt: " in said and "give another with --text" in said
    assert stlm(capsys, "eval", "retold", "--text", "text.txt")[0] == 0


def test_packing_and_unpacking(capsys):
    Path("short.txt").write_text("Anna wanted to find her red kite.\n" * 5)
    status, _, said = stlm(capsys, "zip", "tiny", "short.txt", "-o", "short.stlm")
    assert status == 0 and "170 bytes compressed to" in said and "the model's own figure" in said
    assert stlm(capsys, "unzip", "tiny", "short.stlm", "-o", "back.txt")[0] == 0
    assert Path("back.txt").read_bytes() == Path("short.txt").read_bytes()


@pytest.mark.parametrize(("words", "message"), [
    (("eval", "tiny", "--tasks", "blimb"), "did you mean 'blimp'"),
    (("eval", "nothing"), "there is no run 'nothing'"),
    (("eval", "tiny", "--limit", "0"), "1 or more"),
    (("eval", "tiny", "--tasks", "boolq", "--data", "nowhere"), "there is no such folder"),
    (("eval", "tiny", "--text", "nowhere.txt"), "nowhere.txt"),
    (("eval", "tiny", "--text", "text.txt", "--tasks", "world"), "--text: no task here takes it, of world"),
    (("eval", "tiny", "--tasks", ", ,"), "name at least one task"),
    (("eval", "tiny", "--tasks", "mine.nothing"), "there is no kind 'mine.nothing'"),
    (("eval", "hf:runs", "--tasks", "world"), "cannot be loaded"),
    (("zip", "tiny", "nowhere.txt", "-o", "x"), "cannot be read"),
    (("zip", "tiny", "text.txt"), "-o"),
    (("unzip", "tiny", "text.txt", "-o", "x"), "wasn't written by `stlm zip`"),
    (("zip", "tiny", "short.txt", "-o", "nowhere/x"), "cannot be written"),
    (("train", "tiny.toml", "--name", "other", "--train.tasks", "blimb"), "did you mean 'blimp'"),
])
def test_faults_are_one_line(capsys, words, message):
    Path("short.txt").write_text("It rained.")
    if words[1].startswith("hf:"):
        pytest.importorskip("transformers", reason="transformers is not installed: pip install 'stlm[hf]'")
    status, out, said = stlm(capsys, *words)
    assert status == 2 and out == "" and message in said and said.strip().splitlines()[-1].startswith("stlm: ")
