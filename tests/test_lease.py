"""Minutes on a borrowed machine, rehearsed on the CPU: pack, run by the clock, be killed, join."""

from __future__ import annotations

import dataclasses
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from stlm.compress import publish, write_compressed
from stlm.data.sources import open_source
from stlm.errors import UserError
from tests.train.tiny import TINY, tiny_trainer

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "recipes"))
from leasing import output, pack  # noqa: E402
from leasing.child import Child  # noqa: E402
from leasing.output import RECORDS, Output, join, parts_in  # noqa: E402
from leasing.plan import Plan  # noqa: E402

WORDS = "the cat sat on the mat and the dog lay by the door when Anna found her red kite in the rain".split()
ITEMS = {
    "blimp": {"sentence_good": "The cat sat.", "sentence_bad": "The cat sit.", "linguistics_term": "agreement",
              "field": "syntax", "UID": "one"},
    "arc_easy_test": {"question": "Where did the cat sit?", "choices": ["on the mat", "in the rain"], "gold": 0},
    "hellaswag_val_sub1000": {"query": "A cat: It sat", "choices": ["on the mat.", "a kite.", "dog.", "red."], "gold": 0},
}


def documents(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=100))} {draw.random()}" for _ in range(count)]


@pytest.fixture
def texts(tmp_path, monkeypatch) -> list[str]:
    """Two texts, one with splits and one without, and a folder of benchmarks."""
    for name, split, count, seed in (("tales", "train", 200, 3), ("tales", "validation", 9, 5), ("news", "all", 150, 7)):
        path = tmp_path / "texts" / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(count, seed)))
    for name, item in ITEMS.items():
        path = tmp_path / "data" / "eval" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((json.dumps(item) + "\n") * 6)
    monkeypatch.setenv("STLM_DATA", str(tmp_path / "data"))
    return [str(tmp_path / "texts" / name) for name in ("tales", "news")]


def packed(folder: Path, texts: list[str], limit: float = 5.0, seed: int = 0) -> list[str]:
    said: list[str] = []
    pack.pack(folder, texts, "text", limit, [], "3.12", seed, said.append)
    return said


def all_of(text: str, split: str) -> set[bytes]:
    return set(open_source(text).documents(split))


# --- pack

def test_a_package_has_code_benchmarks_and_the_same_split(tmp_path, texts):
    said = packed(tmp_path / "package", texts)
    assert (tmp_path / "package/src/stlm/train/loop.py").exists() and (tmp_path / "package/recipes/leasing/run.py").exists()
    assert not list((tmp_path / "package").rglob("*.pyc"))
    for text in texts:
        for split in ("train", "validation"):
            there = all_of(str(tmp_path / "package/text" / Path(text).name), split)
            assert there == all_of(text, split), "all of a short text fits, and nothing held out is trained on"
    with lzma.open(tmp_path / "package/eval/blimp.jsonl.xz") as file:
        assert [json.loads(line) for line in file] == [ITEMS["blimp"]] * 6
    assert "5 MB. Copy it" in said[-1]


def test_a_limit_leaves_out_training_text_drawn_by_the_seed(tmp_path, texts):
    for text in texts:  # 0.3 MB that no compressor makes smaller than half
        with open(next(Path(text).glob("[at]*.jsonl")), "a") as file:
            file.writelines(json.dumps({"text": random.Random(i).randbytes(4000).hex()}) + "\n" for i in range(40))
    full, found = {text: all_of(text, "train") for text in texts}, []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / f"part{number}"
        packed(folder, texts, limit=1.28, seed=seed)
        assert 1.0 < pack._megabytes(folder) <= 1.28
        there = {text: all_of(str(folder / "text" / Path(text).name), "train") for text in texts}
        assert all(set() < there[text] < full[text] for text in texts)
        assert all_of(str(folder / "text/tales"), "validation") == all_of(texts[0], "validation")
        found.append(there)
    assert found[0] == found[1] != found[2]


def test_what_does_not_fit_is_said(tmp_path, texts):
    with pytest.raises(UserError, match="without training text it is .* MB already"):
        packed(tmp_path / "package", texts, limit=0.1)
    assert not (tmp_path / "package").exists(), "so that the command can be given again"
    (tmp_path / "package").mkdir()
    (tmp_path / "package/mine").touch()
    with pytest.raises(UserError, match="files in it already"):
        packed(tmp_path / "package", texts)


def test_packages_and_benchmarks_that_cannot_be_had_are_left_out(tmp_path, texts, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: no network\n")
    monkeypatch.setattr(pack.subprocess, "run", lambda *words, **how: failed)
    assert pack._fetch("rich", tmp_path, "3.12") == "package rich: left out (ERROR: no network)"
    monkeypatch.setenv("STLM_DATA", str(tmp_path))
    (tmp_path / "eval").mkdir()
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert pack._copy_benchmarks(tmp_path / "benchmarks").startswith("benchmarks: left out (nyu-mll/blimp")


# --- what comes back

@pytest.fixture
def model(tmp_path) -> Path:
    """A published model."""
    trainer = tiny_trainer(tmp_path / "runs/tiny", steps=2)
    trainer.run()
    write_compressed(trainer.folder.latest(), tmp_path / "published", publish.Config())
    return tmp_path / "published"


def test_parts_make_the_model_again(tmp_path, model, monkeypatch):
    monkeypatch.setattr(output, "PART", 4000)
    out = Output(tmp_path / "out", 64)
    assert "parts" in out.save_model(model, 2)
    assert len(parts_in(out.folder)) > 2 and all(path.stat().st_size <= 4000 for path in parts_in(out.folder))
    assert "step 2" in join(out.folder, tmp_path / "models/again")
    same = {path.name: path.read_bytes() for path in model.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "models/again").iterdir()} == same
    with pytest.raises(UserError, match="exists already"):
        join(out.folder, tmp_path / "models/again")


def test_later_weights_take_the_place_of_earlier_ones(tmp_path, model, monkeypatch):
    monkeypatch.setattr(output, "PART", 4000)
    out = Output(tmp_path / "out", 64)
    out.save_model(model, 1)
    before = [path.read_bytes() for path in parts_in(out.folder)]
    (model / "README.md").write_text("more")
    out.save_model(model, 2)
    assert all(path.name.startswith("model-0000002-") for path in parts_in(out.folder))
    assert [path.read_bytes() for path in parts_in(out.folder)] != before


def test_a_set_that_is_not_whole_is_not_taken(tmp_path, model, monkeypatch):
    monkeypatch.setattr(output, "PART", 4000)
    out = Output(tmp_path / "out", 64)
    out.save_model(model, 1)
    parts_in(out.folder)[1].rename(tmp_path / "away")
    with pytest.raises(UserError, match="part 2 of"):
        join(out.folder, tmp_path / "again")
    newer = parts_in(out.folder)[0]
    (tmp_path / "away").rename(out.folder / newer.name.replace(".1of", ".2of"))
    newer.with_name(newer.name.replace("0000001", "0000009")).write_bytes(b"half written when all was killed")
    join(out.folder, tmp_path / "again")
    parts_in(out.folder)[0].write_bytes(b"changed")
    with pytest.raises(UserError, match="missing|damaged"):
        join(out.folder, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_large_weights_stay_and_that_is_said(tmp_path, model):
    out = Output(tmp_path / "out", 4.001)
    assert "stay here, because --bring" in out.save_model(model, 2)
    assert not parts_in(out.folder)
    with pytest.raises(UserError, match="no weights are in it"):
        join(out.folder, tmp_path / "again")


def test_records_are_whole_at_every_moment(tmp_path):
    out = Output(tmp_path / "out", 64)
    out.keep("now", b"1")
    out.keep("later", tmp_path / "later")
    out.save()
    assert zipfile.ZipFile(out.folder / RECORDS).namelist() == ["now"]
    (tmp_path / "later").write_text("2")
    out.save()
    assert sorted(zipfile.ZipFile(out.folder / RECORDS).namelist()) == ["later", "now"]
    assert [path.name for path in out.folder.iterdir()] == [RECORDS]


# --- the clock

@pytest.mark.parametrize("seconds", [6, 60, 570, 3600])
def test_a_plan_has_room_for_every_part(seconds):
    plan = Plan.of(seconds, measures=True, trains=True)
    assert 0 < plan.measuring < plan.trained < plan.scored < plan.end == seconds
    assert plan.trained - plan.measuring > 0.3 * seconds, "most of the time is for training"
    alone = Plan.of(seconds, measures=True, trains=False)
    assert alone.measuring == alone.scored < alone.end


@pytest.mark.parametrize("code", ["time.sleep(99)", "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"])
def test_a_child_that_hangs_is_ended_with_what_it_started(tmp_path, code):
    child = Child(["-c", "import signal, subprocess, time\n"
                         f"print(subprocess.Popen(['sleep', '98']).pid); {code}"], tmp_path / "child.log")
    start = time.monotonic()
    assert child.wait(start + 0.7, settle=0.5) is None
    assert time.monotonic() - start < 3
    grandchild = int(child.last_line())
    state, end = Path(f"/proc/{grandchild}/stat"), time.monotonic() + 5
    while state.exists() and state.read_text().split()[2] != "Z":  # it was told to end, and needs a moment
        assert time.monotonic() < end
        time.sleep(0.05)


# --- a rehearsal

@dataclasses.dataclass
class Rehearsal:
    """A packed folder, and the folder that comes back."""

    folder: Path
    out: Path

    def start(self, *words: str) -> subprocess.Popen:
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "STLM_DATA")}
        return subprocess.Popen([sys.executable, "recipes/lease.py", "run", "--out", str(self.out), *words], cwd=self.folder,
                                env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, minutes: float, *words: str) -> tuple[int, str, float]:
        start = time.monotonic()
        process = self.start("--minutes", str(minutes), *words)
        said, _ = process.communicate(timeout=60 * minutes + 60)
        return process.returncode, said, time.monotonic() - start

    def record(self) -> dict:
        with zipfile.ZipFile(self.out / RECORDS) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture
def rehearsal(tmp_path, texts) -> Rehearsal:
    packed(tmp_path / "package", texts)
    (tmp_path / "package/tiny.toml").write_text(TINY.replace('compile = "off"\n', "checkpoint_every = 20\n"))
    return Rehearsal(tmp_path / "package", tmp_path / "out")


@pytest.mark.slow
def test_a_short_training_ends_by_the_clock(rehearsal, tmp_path):
    """How much is reached depends on the machine; that it is in time and told does not."""
    status, said, took = rehearsal.run(0.3, "--measure", "none", "--train", "tiny.toml", "--train.compile", "off")
    assert took < 18 + 3, said
    record = rehearsal.record()
    events = json.loads(record["lease.json"])["events"]
    assert said.splitlines() == events and ("finished" in events[-1] or "ended" in events[-1])
    if status == 0:
        assert "bits per byte of held-out text" in said and "metrics.jsonl" in record
    if parts_in(rehearsal.out):
        assert "whole" in join(rehearsal.out, tmp_path / "models/again")


def test_a_wrong_flag_ends_it_at_once(rehearsal):
    with zipfile.ZipFile(rehearsal.folder / "packages/own-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own.py", "")
    status, said, took = rehearsal.run(5, "--train", "tiny.toml", "--train.stepz", "5")
    assert status == 2 and took < 60 and "--train.stepz" in said
    assert (rehearsal.folder / "packages/own.py").exists(), "packages are unpacked before anything needs them"
    assert "--train.stepz" in json.loads(rehearsal.record()["lease.json"])["events"][-1]


def test_the_program_that_keeps_the_time_needs_no_torch():
    code = "import sys; sys.path.insert(0, 'recipes'); import leasing.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_a_whole_lease(rehearsal, tmp_path):
    status, said, took = rehearsal.run(1.5, "--measure", "tiny.toml", "--train", "tiny.toml")
    assert status == 0 and took < 90 + 3, said
    record = rehearsal.record()
    assert {"lease.json", "config.json", "env.json", "metrics.jsonl", "results.json", "eval/results.json"} <= record.keys()
    speed = json.loads(record["lease.json"])["speed"][0]
    assert speed["compile"] == "off" and speed["bytes_per_second"] > 0 and speed["profile"]["top"]
    assert all(f"{task}: " in said for task in ("blimp", "arc_easy", "hellaswag"))
    join(rehearsal.out, tmp_path / "models/again")
    assert (tmp_path / "models/again/model.safetensors").exists()


@pytest.mark.slow
def test_what_was_there_before_a_kill_can_be_read(rehearsal):
    process = rehearsal.start("--minutes", "5", "--measure", "none", "--train", "tiny.toml", "--train.compile", "off")
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not ((rehearsal.out / RECORDS).exists() and "metrics.jsonl" in rehearsal.record()):
            time.sleep(0.1)
    finally:
        for number in processes_of(process.pid):
            os.kill(number, signal.SIGKILL)
        process.wait()
    record = rehearsal.record()
    assert record["metrics.jsonl"].splitlines() and json.loads(record["config.json"])
    assert any("training tiny.toml" in event for event in json.loads(record["lease.json"])["events"])


def processes_of(leader: int) -> list[int]:
    """A process and all that it has started. They have groups of their own, so one signal doesn't reach them all."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            found.append(int(path.parent.name))
    return found
