"""Training, scoring and writing beside other busy programs, by the way in which waiting threads wait.

    python -m benchmarks neighbours [--rounds 3] [--seconds 3] [--busy 0 1 2] [--preset demo]

An OpenMP thread that waits for the others spins, because that is fast where nobody else wants its core. Where somebody does, it
spins away the time that the others need. Each arm is a process of its own with another setting, and arms take turns. ``--busy``
is the number of other processes that compute without a pause.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import common

UNSET = "as libgomp has it"
ARMS = {UNSET: {}, "spin 4,000": {"GOMP_SPINCOUNT": "4000"}, "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
        "spin 250": {"GOMP_SPINCOUNT": "250"}, "sleep at once": {"OMP_WAIT_POLICY": "passive"},
        "one thread": {"OMP_NUM_THREADS": "1"}}
SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
JOBS = ("train", "train, compiled", "score", "write")
TEXT = 16_384  # bytes that are scored at once


class Worker:
    """One arm: a process that does a job for some seconds when it is told to."""

    def __init__(self, environment: dict[str, str], preset: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks", "neighbours", "--worker", "--preset", preset],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                         env={**kept, **environment})
        self.speed("train", 0.0)  # answers when all is built

    def speed(self, job: str, seconds: float) -> float:
        """Bytes per second."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{seconds} {job}\n")
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate("")


def work(preset: str) -> None:
    """The loop of a worker: read a job and its seconds, answer with its speed."""
    import torch

    from stlm.data.shards import Shard
    from stlm.evaluate.bits import score
    from stlm.generate.session import Session
    from stlm.text.world import write_story
    from stlm.train.build import build_run
    from stlm.train.folder import RunFolder
    from stlm.train.loop import Trainer
    from stlm.train.presets import PRESETS

    def trainer(folder: Path, compiled: str) -> Trainer:
        config = PRESETS[preset]()
        train = dataclasses.replace(config.train, minutes=60.0, steps=None, compile=compiled)
        config = dataclasses.replace(config, train=train)
        run = RunFolder(folder / compiled)
        run.create(config)
        return build_run(run, config, common.open_text("world", config.data.tokenizer), common.CPU, [])

    with tempfile.TemporaryDirectory() as folder:
        trainers = {"train": trainer(Path(folder), "off"), "train, compiled": trainer(Path(folder), "on")}
    model, tokenizer = trainers["train"].usable_model(), trainers["train"].corpus.tokenizer
    text = "\n".join(write_story(0, number).text for number in range(64)).encode()[:TEXT]
    shard, tokens = Shard.of([text], tokenizer), tokenizer.encode(text).tolist()

    def train(job: str) -> int:
        before = trainers[job].counters.n_bytes
        trainers[job].advance()
        return trainers[job].counters.n_bytes - before

    def write() -> int:
        session = Session(model, tokenizer)
        for token in tokens[:64]:
            session.feed([[token]])
            session.logits().argmax().item()
        return 64

    def scored() -> int:
        score(model, shard, tokenizer, 512, 16)
        return TEXT

    steps: dict[str, Callable[[], int]] = {"train": lambda: train("train"), "score": scored, "write": write,
                                           "train, compiled": lambda: train("train, compiled")}
    for step in steps.values():
        step()
    for line in sys.stdin:
        seconds, _, job = line.strip().partition(" ")
        start, n_bytes = time.perf_counter(), 0
        while not n_bytes or time.perf_counter() - start < float(seconds):
            with torch.enable_grad():
                n_bytes += steps[job]()
        print(n_bytes / (time.perf_counter() - start), flush=True)


@contextlib.contextmanager
def neighbours(n: int) -> Iterator[None]:
    """A context in which n other processes compute without a pause."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks neighbours", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each arm in each round")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        return work(given.preset)
    with common.CONSOLE.status("building"):
        workers = {arm: Worker(ARMS[arm], given.preset) for arm in given.arms}
    found = [_measure(workers, job, busy, given.rounds, given.seconds) for job in given.jobs for busy in given.busy]
    for worker in workers.values():
        worker.end()
    quiet = {row["job"]: row["arms"] for row in found if row["busy"] == 0}
    common.save("neighbours", {
        "question": "How should threads wait, with and without other busy programs?", "held_equal": "seconds",
        "preset": given.preset, "settings": {arm: ARMS[arm] for arm in given.arms}, "rows": found})
    common.print_table(
        f"{given.preset}: kB/s, and the ratio to {given.arms[0]!r} of the same round", ["", "busy", *given.arms],
        ([row["job"], str(row["busy"]), *(f"{arm['speed']['mean'] / 1e3:.2f} ({common.shown(arm['ratio'])})"
                                          for arm in row["arms"].values())] for row in found))
    common.print_table(
        "share of the arm's own quiet speed", ["", "busy", *given.arms],
        ([row["job"], str(row["busy"]), *(f"{arm['speed']['mean'] / quiet[row['job']][name]['speed']['mean']:.2f}"
                                          for name, arm in row["arms"].items())]
         for row in found if row["busy"] and row["job"] in quiet))
    return None


def _measure(workers: dict[str, Worker], job: str, busy: int, rounds: int, seconds: float) -> dict:
    """The speeds of all arms at one job, in turns, beside so many busy processes."""
    speeds: dict[str, list[float]] = {arm: [] for arm in workers}
    with neighbours(busy):
        for number in range(rounds):
            order = list(workers) if number % 2 == 0 else list(workers)[::-1]
            for arm in order:
                speeds[arm].append(workers[arm].speed(job, seconds))
    first = next(iter(speeds.values()))
    common.CONSOLE.print(f"{job}, {busy} busy:", *(f"{arm} {sum(each) / len(each) / 1e3:.2f}" for arm, each in speeds.items()),
                         "kB/s", highlight=False)
    return {"job": job, "busy": busy, "arms": {
        arm: {"speed": common.spread(each), "ratio": common.spread(a / b for a, b in zip(each, first, strict=True))}
        for arm, each in speeds.items()}}
