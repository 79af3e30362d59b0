"""The command line, as a person meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import HELD_OUT, TINY, stlm

from stlm.text.world import parse_story, write_story
from stlm.train.loop import Trainer


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)


def fault(capsys, *words):
    status, out, err = stlm(capsys, *words)
    assert status == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("stlm: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def test_a_run_from_nothing_to_text(capsys, trained):
    err = trained
    assert "held out" in err and "parameters" in err
    assert re.search(r"xz -9e.*\n(.*\n)*.*exact entropy", err)
    assert "above the exact entropy of this text" in err
    assert err.endswith("         stlm train tiny.toml --data FOLDER_OF_TEXT --name mine-2\n")
    names = {path.name for path in Path("runs/mine").iterdir()}
    assert {"config.json", "env.json", "metrics.jsonl", "report.html", "results.json", "samples.jsonl", "checkpoints"} <= names
    results = json.loads(Path("runs/mine/results.json").read_text())
    assert results["protocol"]["bytes"] >= HELD_OUT
    assert 0.4 < results["entropy"] < 0.43
    status, out, err = stlm(capsys, "generate", "mine", "Long ago", "--max-bytes", "40", "--seed", "1")
    assert (status, err) == (0, "")
    assert 1 <= len(out.encode()) <= 41
    assert stlm(capsys, "generate", "--device=cpu", "runs/mine", "Long ago", "--max-bytes", "40", "--seed", "1")[1] == out
    assert stlm(capsys, "generate", "mine", "Long ago", "--max-bytes", "40", "--seed", "2")[1] != out


def test_the_report_stands_alone(trained):
    page = Path("runs/mine/report.html").read_text()
    assert "<svg" in page
    assert "exact entropy" in page
    assert "xz -9e" in page and "zstd -19" in page
    assert page.count("<svg") == 3  # against bytes, seconds and FLOPs
    assert "on 1 thread of" in page and "reads windows of 256 tokens that overlap by\n  128;" in page
    shown = re.search(r'class="reading">(.*?)</p>', page, re.S)[1]
    assert len(re.findall(r'<u class="odd">', shown)) > 25 and len(re.findall(r"<u>", shown)) > 25
    results = json.loads(Path("runs/mine/results.json").read_text())
    assert len(re.findall(r"<s ", shown)) == len(results["reading"]) == 600
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)
    assert "<script" not in page


def test_the_report_of_an_unfinished_run(capsys, trained):
    Path("runs/mine/results.json").unlink()
    assert stlm(capsys, "report", "mine")[0] == 0
    assert "isn't finished" in Path("runs/mine/report.html").read_text() or \
        "isn&#39;t finished" in Path("runs/mine/report.html").read_text()


@pytest.mark.usefixtures("no_report")
def test_going_on_and_going_further(capsys, trained):
    assert "this run exists already; continue it with --resume" in fault(
        capsys, "train", "tiny.toml", "--name", "mine", "--train.steps", "12")
    status, _, err = stlm(capsys, "train", "tiny.toml", "--name", "mine", "--resume", "--train.steps", "16")
    assert status == 0
    assert "continued from step 12" in err
    assert json.loads(Path("runs/mine/results.json").read_text())["steps"] == 16
    assert "--model.dim: it can't change in a run that continues" in fault(
        capsys, "train", "tiny.toml", "--name", "mine", "--resume", "--model.dim", "32")
    assert "this run uses adamw, and another optimizer can't continue it" in fault(
        capsys, "train", "tiny.toml", "--name", "mine", "--resume", "--optim", "muon")


@pytest.mark.usefixtures("no_report")
def test_names_of_runs_follow_the_preset(capsys):
    for _ in range(2):
        assert stlm(capsys, "train", "tiny.toml", "--train.steps", "2")[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny", "tiny-2"]
    assert "use letters, digits" in fault(capsys, "train", "tiny.toml", "--name", "../up")


@pytest.mark.usefixtures("no_report")
def test_other_text_and_other_parts(capsys):
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("Some words of my own, again and again, in every note. " * 90)
    status, _, err = stlm(capsys, "train", "tiny.toml", "--data", "notes", "--name", "notes", "--model.patching", "stride",
                          "--model.local=attention", "--optim", "muon", "--data.tokenizer", "bpe",
                          "--data.tokenizer.vocab-size", "280",
                          "--train.steps", "6")
    assert status == 0, err
    assert "exact entropy" not in err
    assert "next:    stlm generate notes " in err and "stlm eval notes --text OTHER_TEXT\n" in err
    assert re.search(r"stlm train tiny.toml --data notes .*--train.steps 24.* --name notes-longer\n$", err)
    config = json.loads(Path("runs/notes/config.json").read_text())
    assert config["model"]["patching"] == {"kind": "stride", "stride": 4}
    assert config["data"]["tokenizer"]["vocab_size"] == 280
    assert stlm(capsys, "generate", "notes", "Some", "--max-bytes", "20")[0] == 0
    assert stlm(capsys, "params", "notes")[0] == 0
    status, out, _ = stlm(capsys, "patches", "notes", "runs/notes", "Some words of my own")
    assert status == 0
    assert out.count("bytes a patch") == 2 and out.count("|") == 4
    assert "".join(re.findall(r"^.*\|.*$", out, re.M)[0].split("|")) == "Some words of my own"


@pytest.mark.slow
def test_a_part_of_ones_own_lies_in_the_folder():
    Path("mine").mkdir()
    Path("mine/wide.py").write_text("from stlm.nn.block.conv import Config as C\nclass Config(C):\n    kernel_size: int = 9\n")
    program = Path(sys.executable).with_name("stlm")
    subprocess.run([program, "params", "tiny.toml", "--model.local", "mine.wide"], check=True, stdout=subprocess.DEVNULL)


def test_patches_that_have_to_be_predicted(capsys):
    """Marks between tokens are read, written and counted, and never shown as text."""
    status, _, err = stlm(capsys, "train", "tiny.toml", "--name", "marked", "--data.tokenizer", "subword",
                          "--data.tokenizer.vocab-size", "300", "--model.patching", "subword", "--model.pooling", "mean",
                          "--train.steps", "4")
    assert status == 0, err
    status, out, _ = stlm(capsys, "generate", "marked", "Long ago", "--max-bytes", "60")
    assert status == 0 and 1 <= len(out.encode()) <= 61
    results = json.loads(Path("runs/marked/results.json").read_text())
    assert results["protocol"]["bytes"] >= HELD_OUT and results["bytes_per_patch"] < 12
    assert "\u00b7" in Path("runs/marked/report.html").read_text()


@pytest.mark.parametrize(("words", "message"), [
    (["trian"], "there is no verb 'trian' (did you mean 'train'?); the verbs are train, generate, params, report, "
                "patches, eval, zip, unzip, publish, compare, check"),
    (["train", "dmo"], "there is no preset 'dmo' (did you mean 'demo'?)"),
    (["train", "demo", "--data", "nowhere.txt"], "nowhere.txt: there is no such file or folder"),
    (["train", "demo", "--model.patching", "whitspace"], "there is no kind 'whitspace' (did you mean 'whitespace'?)"),
    (["train", "demo", "--model.dimm", "3"], "there is no flag --model.dimm (did you mean '--model.dim'?)"),
    (["train", "demo", "--model.dim", "-4"], "dim = -4"),
    (["train", "tiny.toml", "--model.dim", "1000000", "--model.trunk.heads", "2"], "GiB to train, but there are"),
    (["train", "tiny.toml", "--train.batch-size", "1000000", "--train.seq-len", "1000000"], "decrease --train.batch-size"),
    (["train", "tiny.toml", "--seed", "-1"], "seed = -1: it has to be 0 or more"),
    (["train", "demo", "--train.steps", "0"], "steps = 0: it has to be 1 or more"),
    (["train", "demo", "--name"], "--name: a value has to follow"),
    (["train", "tiny.toml", "--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", "280"],
     "whitespace needs the tokenizer bytes"),
    (["generate", "nothing", "x"], "there is no run 'nothing'"),
    (["generate", "nothing"], "the following arguments are required: prompt"),
    (["generate", "nothing", "x", "--max-tokens", "9"], "there is no flag --max-tokens (did you mean '--max-bytes'?)"),
    (["generate", "nothing", "some", "words"], "'words' is one word too many: put quotes around a text with spaces"),
    (["sample", "demo"], "there is no verb 'sample' (did you mean 'generate'?)"),
    (["list"], "there is no verb 'list'; the verbs are"),
    (["generate", "nothing", "x", "--temperature", "hot"], "--temperature: expected a number, found 'hot'"),
    (["generate", "nothing", "x", "--top-p", "0"], "--top-p 0: it has to be above 0"),
    (["generate", "nothing", "x", "--max-bytes", "0"], "it has to be 1 or more"),
    (["params", "nothing"], "there is no preset 'nothing'"),
    (["report", "nothing"], "there is no run 'nothing'"),
    (["patches", "nothing", "a text"], "there is no run 'nothing'"),
    (["patches", "nothing"], "give a run and a text"),
    (["train", "tiny.toml", "--model.patching", "entropy"], "there is no run 'reader'"),
    (["compare", "nothing.py"], "nothing.py: there is no such file"),
    (["compare", "nothing.py", "--jobs", "0"], "--jobs 0: it has to be 1 or more"),
    (["compare", "nothing.py", "--cluster", "k8s"], "it has to be slurm, or local"),
    (["compare", "nothing.py", "--quick"], "there is no flag --quick; `stlm compare --help` lists them"),
])
def test_faults(capsys, words, message):
    assert message in fault(capsys, *words)


@pytest.mark.parametrize(("name", "data"), [("empty.txt", b""), ("short.txt", b"too short")])
def test_files_without_text(capsys, name, data):
    Path(name).write_bytes(data)
    assert "too little to learn from" in fault(capsys, "train", "tiny.toml", "--data", name)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.usefixtures("no_report")
def test_damaged_and_foreign_checkpoints(capsys, trained):
    last = Path("runs/mine/checkpoints/step_0000012")
    data = (last / "model.safetensors").read_bytes()
    (last / "model.safetensors").write_bytes(data[:-1])
    for words in (["generate", "mine", "x"], ["params", "mine"], ["train", "tiny.toml", "--name", "mine", "--resume"]):
        assert "damaged or missing; delete step_0000012 to continue from the checkpoint before it" in fault(capsys, *words)
    Path("foreign").mkdir()
    Path("foreign/model.safetensors").write_bytes(b"x")
    assert "neither a run nor a checkpoint of stlm" in fault(capsys, "generate", "foreign", "x")


@pytest.mark.usefixtures("no_report")
def test_a_full_disk(capsys, monkeypatch):
    import errno

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("safetensors.torch.save_model", full)
    assert "No space left on device" in fault(capsys, "train", "tiny.toml", "--name", "full", "--train.steps", "6")


def test_a_step_that_needs_too_much_memory(capsys, monkeypatch):
    def refuse(*arguments, **keywords):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ...")
    monkeypatch.setattr("stlm.train.loop.Trainer.advance", refuse)
    assert "increase --train.grad-accum, or decrease --train.batch-size" in fault(capsys, "train", "tiny.toml", "--name", "big")


def test_params(capsys):
    status, out, _ = stlm(capsys, "params", "demo")
    assert status == 0
    for part in ("tables", "local networks", "trunk", "unique", "total", "50,257 subwords", "saved", "what bytes save"):
        assert part in out
    status, out, _ = stlm(capsys, "params", "paper")
    saved = {int(row[0]): row[1:] for row in re.findall(r"\u2502 +(\d{3}) .*?([\d.]+)% .*?([\d.]+)% ", out)}
    assert status == 0 and list(saved) == [256, 384, 512, 640, 768]
    for dim, shares in saved.items():
        blocks = (4 + 7) * (12 * 128**2 + 2 * 128)  # attention, feed-forward layer and their norms
        ways = (1 + 13) * 128 * dim + dim + 128 + 13 * 128 + 128
        front = 2 * 258 * 128 + blocks + ways
        for share, uses in zip(shares, (1, 2), strict=True):
            assert float(share) == pytest.approx(100 * (1 - front / (uses * 50_257 * dim)), abs=0.06)


@pytest.mark.parametrize("flags", [
    "--model.sharing ffn", "--model.sharing adjacent", "--model.sharing cycle", "--model.sharing all",
    "--model.depth early_exit", "--model.depth mixture --model.depth.span 2", "--model.depth skip", "--model.head parallel "
    "--model.copying none --model.decoder-layers 0", "--model.pooling attention", "--model.patching entropy"])
def test_params_of_every_kind(capsys, flags):
    status, out, err = stlm(capsys, "params", "demo", *flags.split())
    assert status == 0, err
    assert "what bytes save" in out and "megabytes, in bfloat16" in out


def test_what_does_not_go_together(capsys):
    words = ("params", "demo", "--model.pooling", "attention")
    assert "each token is a patch; choose pooling = last" in fault(capsys, *words, "--model.patching", "none")
    assert "local_dim = 128 doesn't fit 3 heads: use a multiple of 3, such as 126 or 129" in fault(
        capsys, *words, "--model.pooling.heads", "3")


@pytest.mark.parametrize("verb", ["train", "generate", "params", "report", "patches", "compare", "check"])
def test_help_of_verbs(capsys, verb):
    status, out, _ = stlm(capsys, verb, "--help")
    assert status == 0
    assert f"usage: stlm {verb}" in out


def test_help_imports_nothing_heavy():
    code = ("import sys; from stlm.cli import main; main(['--help']); main(['train', '--help']); "
            "assert not {'torch', 'numpy', 'rich', 'stlm.model'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.usefixtures("no_report")
def test_ctrl_c_saves_and_says_how_to_go_on(capsys, monkeypatch):
    advance = Trainer.advance

    def interrupted(trainer):
        if trainer.step == 5:
            signal.raise_signal(signal.SIGINT)
        return advance(trainer)

    monkeypatch.setattr(Trainer, "advance", interrupted)
    Path("tiny.toml").rename("my [run].toml")
    status, _, err = stlm(capsys, "train", "my [run].toml", "--name", "long")
    assert status == 130 and "continue with:  stlm train 'my [run].toml' --name long --resume" in err
    assert Path("runs/long/checkpoints/step_0000006").exists()


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own():
    Path("story.txt").write_text("Anna wanted to find her red kite, and the dog lay by the door. " * 100)
    command = [sys.executable, "-m", "stlm", "train", "tiny.toml", "--name", "long", "--train.steps", "100000",
               "--data", "story.txt", "--train.compile", "off"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not list(Path("runs").glob("long/checkpoints/step_*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "continue with:  stlm train tiny.toml --name long --resume" in err


def test_trained_text_is_of_the_world():
    """The corpus that runs are measured on is the one whose entropy is claimed."""
    assert parse_story(write_story(0, 3).text) == write_story(0, 3).bits
