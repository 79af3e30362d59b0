"""Several processes look at the held-out text, keep the best weights and end early as one does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stlm.config.files import read_table
from stlm.train import best
from stlm.train.folder import RunFolder, find_checkpoint
from tests.train.tiny import TINY

TRAIN = ["--data", "text", "--train.epochs", "40", "--train.batch-size", "8", "--optim.lr", "0.1", "--train.averaging", "tail",
         "--train.averaging.share", "0.6"]


def train(folder: Path, name: str, *more: str) -> str:
    words = ["train", *(more if more else ("tiny.toml", "--data", "text")), "--name", name, "--device", "cpu"]
    done = subprocess.run([sys.executable, "-m", "stlm", *words], cwd=folder, capture_output=True, text=True, timeout=240,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run, and what it came to when one process trained it further."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "tiny.toml").write_text(TINY.replace("steps = 4", "steps = 60") + "[optim]\nlr = 0.03\n")
    (folder / "text").mkdir()
    (folder / "text" / "train.txt").write_text("The grey heron stood in the cold water. " * 30)
    (folder / "text" / "validation.txt").write_text("A cook sold warm bread, and twelve people came for some of it. " * 20)
    train(folder, "r")
    train(folder, "one", "r", *TRAIN, "--train.precision", "fp32", "--train.compile", "off")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", ["off", "on"])
def test_all_end_at_the_same_step(home, tmp_path, monkeypatch, fsdp):
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    said = train(Path(), "several", "r", *TRAIN, "--train.precision", "fp32", "--train.compile", "off", "--processes", "2",
                 "--fsdp", fsdp)
    one, several = (read_table(Path(f"runs/{name}/results.json")) for name in ("one", "several"))
    assert several["steps"] == one["steps"] and several["weights_of_step"] == one["weights_of_step"] < one["steps"]
    assert f"ended early at step {one['steps']}" in said and said.count("the best weights are used") == 1
    looks = [best.looks_of(RunFolder(Path(f"runs/{name}"))) for name in ("one", "several")]
    assert looks[0][0].step == looks[1][0].step == 0 and len(looks[0]) == len(looks[1])
    assert [look.bits for look in looks[0]] == pytest.approx([look.bits for look in looks[1]], rel=1e-3)
    models = [find_checkpoint(name).build_model() for name in ("one", "several")]
    torch.testing.assert_close(models[0].table, models[1].table, rtol=1e-2, atol=1e-3)
    assert "finished already" in train(Path(), "several", "r", *TRAIN, "--resume", "--processes", "2")
