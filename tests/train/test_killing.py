"""SIGKILL at any instant: the run goes on and ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
STEPS, EVERY = 600, 2  # a checkpoint every other step, so that many kills fall into the writing of one


def worker(path: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tests.train.worker", str(path), str(STEPS), str(EVERY), "off"], cwd=ROOT,
                            stdout=subprocess.PIPE, text=True)


def final(path: Path, name: str) -> bytes:
    return (path / "checkpoints" / f"step_{STEPS:07d}" / name).read_bytes()


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    undisturbed = worker(tmp_path / "undisturbed")
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    draw, path, in_writing = random.Random(0), tmp_path / "killed", 0
    for kill in range(20):
        process = worker(path)
        if kill % 5 == 4:  # while it starts
            time.sleep(draw.uniform(0.0, 2.5))
        else:  # while it trains
            assert process.stdout.readline() == "training\n"
            time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it had ended before kill {kill}"
        in_writing += any((path / "checkpoints").glob(".writing-*"))
    assert in_writing > 0, "no kill fell into the writing of a checkpoint"
    last = worker(path)
    last.communicate()
    assert last.returncode == 0
    for name in ("model.safetensors", "ema.safetensors", "optimizer.pt"):
        assert final(path, name) == final(tmp_path / "undisturbed", name)
    assert not list((path / "checkpoints").glob(".writing-*"))
