"""A process of a run is killed or stands still, at any instant: the job ends soon, one line says which, and the run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stlm.train.checkpoint import list_checkpoints, open_checkpoint
from tests.train.tiny import TINY

FLAGS = ("--train.steps", "100000", "--train.batch-size", "4", "--train.checkpoint-every", "10", "--data.megabytes", "0.2")
SOON = 60.0  # seconds


def start(folder: Path, *more: str) -> subprocess.Popen:
    (folder / "run.toml").write_text(TINY)
    words = ["train", "run.toml", "--name", "it", "--processes", "2", *FLAGS, *more]
    return subprocess.Popen([sys.executable, "-m", "stlm", *words],
                            cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)


def process_of(launcher: subprocess.Popen, rank: int) -> int:
    """The number of the process that has this rank. It is waited for."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
            if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
                return int(child)
        time.sleep(0.05)
    raise AssertionError(f"there is no process of rank {rank}")


def wait_for_steps(folder: Path, after: int) -> None:
    """Wait until a checkpoint of a later step is there."""
    end = time.monotonic() + SOON
    while not any(int(path.name[5:]) > after for path in list_checkpoints(folder / "runs" / "it" / "checkpoints")):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux says which process is which")
def test_whoever_is_lost(tmp_path):
    """Each is killed, and stopped, once; then the run goes on by itself, and Ctrl-C ends it."""
    draw, step = random.Random(0), 0
    for rank, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP), (0, signal.SIGSTOP)):
        launcher = start(tmp_path, "--resume")
        wait_for_steps(tmp_path, step)
        time.sleep(draw.uniform(0.0, 2.0))
        os.kill(process_of(launcher, rank), number)
        at = time.monotonic()
        _, said = launcher.communicate(timeout=2 * SOON)
        assert time.monotonic() - at < SOON and launcher.returncode == 1
        told = [line for line in said.splitlines() if line.startswith("stlm: ")]
        assert len(told) == 1 and f"process {rank} of 2" in told[0] and "--resume" in told[0], said
        assert "Traceback" not in said
        saved = list_checkpoints(tmp_path / "runs" / "it" / "checkpoints")[-1]
        now = open_checkpoint(saved).counters["step"]
        assert now > step
        step = now
    launcher = start(tmp_path, "--resume")
    wait_for_steps(tmp_path, step)
    launcher.send_signal(signal.SIGINT)
    _, said = launcher.communicate(timeout=SOON)
    assert launcher.returncode == 130 and "stopped at step" in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux says which process is which")
def test_one_that_is_lost_while_it_starts(tmp_path):
    launcher = start(tmp_path)
    os.kill(process_of(launcher, 1), signal.SIGKILL)
    _, said = launcher.communicate(timeout=2 * SOON)
    assert launcher.returncode == 1 and said.count("stlm: ") == 1 and "process 1 of 2" in said and "SIGKILL" in said, said
    assert not (tmp_path / "runs" / "it").exists()
