"""What a step of several processes sends, what memory each process needs, and how long it takes, against one process.

    python -m benchmarks processes [--presets 10m,100m] [--steps 4]

Two processes of this machine, one thread each, exchange gradients through gloo, once with all weights in each (DDP) and once
with a part of them in each (FSDP2). The bytes are those that the loopback device has carried. A step reads few rows, so its
time is mostly that of the exchange and of the optimizer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from stlm.model.count import count
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.machine import forget_peak_memory, peak_memory
from stlm.train.presets import PRESETS
from stlm.train.processes import open_ranks

WAYS = {"one process": (1, "off"), "DDP": (2, "off"), "FSDP2": (2, "on")}
ROWS, LENGTH = 2, 512  # of a step


def carried() -> int:
    """Bytes that the loopback device has carried so far."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def worker(preset: str, sharded: str, steps: int, data: str) -> None:
    """One of the processes. The main one prints what was measured."""
    torch.set_num_threads(1)
    ranks, config = open_ranks(), PRESETS[preset]()
    train = dataclasses.replace(config.train, seq_len=LENGTH, batch_size=ROWS, grad_accum=1, compile="off", precision="fp32")
    config = dataclasses.replace(config, train=train)
    with ranks.main_first():
        corpus = common.open_text(data, config.data.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_run(RunFolder(Path(folder)), config, corpus, common.CPU, [], ranks=ranks, sharded=sharded)
        trainer.advance()  # makes the state of the optimizer
        ranks.meet()
        forget_peak_memory(common.CPU)
        before, start = carried(), time.perf_counter()
        for _ in range(steps):
            trainer.advance()
        ranks.meet()
        peaks = torch.zeros(ranks.size, dtype=torch.double)
        peaks[ranks.rank] = peak_memory(common.CPU)
        found = {"seconds": (time.perf_counter() - start) / steps, "sent": (carried() - before) / steps,
                 "peaks": ranks.sum(peaks).tolist(), "parameters": count(trainer.model).unique,
                 "flops": trainer.decisions.flops_per_byte}
    if ranks.is_main:
        print(json.dumps(found), flush=True)
    ranks.close()


def measured(preset: str, way: str, steps: int, data: str) -> dict[str, Any]:
    n, sharded = WAYS[way]
    start = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(n), "-m"] if n > 1 else []
    command = [sys.executable, "-m", *start, "benchmarks.processes", preset, sharded, str(steps), data]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR",
                   "MALLOC_MMAP_THRESHOLD_": "131072"}  # glibc gives freed memory back, so that a peak is what a step needs
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks processes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="10m,50m,100m")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    record: dict[str, Any] = {"question": "What does a step of several processes send, and what memory does each need?",
                              "rows": ROWS, "seq_len": LENGTH, "presets": {}}
    rows = []
    for preset in given.presets.split(","):
        found = {way: measured(preset, way, given.steps, given.data) for way in WAYS}
        record["presets"][preset] = found
        for way, figures in found.items():
            weights, alone = 4 * figures["parameters"], found["one process"]["seconds"]
            rows.append([f"{preset}, {way}", f"{figures['sent'] / 1e6:,.1f}", f"{figures['sent'] / weights:.2f}",
                         ", ".join(f"{peak / 1e6:,.0f}" for peak in figures["peaks"]), f"{figures['seconds'] / alone:.2f}"])
    common.save("processes", record)
    common.print_table("a step of one process, and of two on the same machine",
                       ["", "MB carried", "times the weights", "peak MB of each", "time, of one process"], rows)


if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
