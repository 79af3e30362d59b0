"""Commands in this process, and one trained run for all tests that need one."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from stlm.cli import main
from stlm.evaluate.callbacks import Samples

TINY = """
base = "demo"
[data]
megabytes = 0.05
[model]
dim = 16
layers = 1
trunk = {heads = 2}
local_dim = 8
encoder_layers = 1
decoder_layers = 1
[train]
steps = 12
seq_len = 256
batch_size = 8
warmup = 2
evaluate_every = 6
checkpoint_every = 4
sample_every = 6
precision = "fp32"
"""
HELD_OUT = 1 << 14  # bytes of the built-in corpus: all of them are scored at the end of a run
PAIRS = 25  # of each kind


def stlm(capsys, *words):
    """Run one command in this process: status, standard output, standard error."""
    status = main(list(words))
    said = capsys.readouterr()
    return status, said.out, said.err


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Less of the built-in corpus, and of the pairs that are made of it."""
    patch.setattr("stlm.data.sources.WORLD_VALIDATION", HELD_OUT)
    patch.setattr("stlm.evaluate.world_pairs.EACH", PAIRS)


def train(folder: Path, *words: str) -> str:
    """Train in a folder that other tests copy from; what was said."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.chdir(folder)
        make_small(patch)
        assert main(["train", *words]) == 0, said.getvalue()
    return said.getvalue()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with a finished run, and what its training said. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    return folder, train(folder, "tiny.toml", "--name", "mine", "--train.steps", "12", "--device", "cpu")


@pytest.fixture
def trained(finished, at_home):
    """That run, copied to where the test is; what its training said."""
    folder, said = finished
    shutil.copytree(folder / "runs", "runs")
    return said


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Leave out what takes longer than a few steps: pictures, long samples, and making the model once more to weigh it."""
    patch.setattr("stlm.cli.train.write_report", lambda folder: None)
    patch.setattr("stlm.cli.train.check_fits", lambda *about: None)
    patch.setattr("stlm.cli.train.Samples", lambda show: Samples(show, 9))


@pytest.fixture
def no_report(monkeypatch):
    make_quick(monkeypatch)


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    make_small(monkeypatch)
