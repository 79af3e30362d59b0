"""Functions for all benchmarks: texts, the machine's ceilings, tables and records."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stlm.config.decode import encode
from stlm.config.files import read_json
from stlm.config.writing import write_json
from stlm.data.cache import cache_folders
from stlm.data.shards import Corpus, prepare
from stlm.data.sources import open_source
from stlm.text.tokenizer import TokenizerConfig
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.train.folder import RUNS
from stlm.train.machine import describe, seconds
from stlm.train.presets import PRESETS

CONSOLE = Console(width=100)
RESULTS = Path("results") / "speed"
CPU = torch.device("cpu")


def real_text(name: str) -> str:
    """The folder of a real text in ``STLM_DATA``, or the built-in corpus if ``STLM_DATA`` isn't set."""
    folder = os.environ.get("STLM_DATA")
    return str(Path(folder) / "text" / name) if folder else "world"


def open_text(source: str, tokenizer: TokenizerConfig | None = None) -> Corpus:
    """A text under a tokenizer, from the cache if it is there."""
    opened = open_source(source, field="text", seed=0, megabytes=32.0)
    return prepare(opened, tokenizer or byte_tokenizer.Config(), cache_folders())


def all_bytes(corpus: Corpus, split: str, limit: int | None = None) -> np.ndarray:
    """One split of a text as bytes, end to end, for programs that have no documents."""
    return np.asarray(getattr(corpus, split).tokens[:limit]).astype(np.uint8)


def ceilings() -> dict[str, float]:
    """The highest speeds of this machine: GFLOP/s of large matrix products, and GB/s read from memory."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        x = torch.randn(1536, 1536, dtype=dtype)
        found[f"gemm_{name}_gflops"] = 2 * 1536**3 / seconds(lambda x=x: x @ x, CPU) / 1e9
    block = torch.ones(1 << 26)
    found["memory_gbytes"] = block.nbytes / seconds(block.sum, CPU) / 1e9
    return found


def gemm_ceiling(found: dict[str, float], bf16: bool) -> float:
    """FLOPs per second from `ceilings` with which work in bf16, or in fp32, is compared."""
    return 1e9 * found["gemm_bf16_gflops" if bf16 else "gemm_fp32_gflops"]


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Mean, standard deviation and count."""
    values = list(values)
    return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0, "n": len(values),
            "values": values}


def shown(figures: dict[str, Any], digits: int = 2) -> str:
    return f"{figures['mean']:.{digits}f} ± {figures['std']:.{digits}f}"


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def save(name: str, record: dict[str, Any]) -> None:
    """Write ``results/speed/NAME.json``, with the machine and the revision."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / f"{name}.json", {**record, "hardware": describe(CPU), "git": git})


def trained(preset: str, flags: list[str], seed: int) -> dict[str, Any]:
    """The results of one of our runs. It is trained first if it isn't there. ``run``: its folder, named by a hash of its
    description.
    """
    description = json.dumps([encode(PRESETS[preset]()), flags, seed], sort_keys=True)
    name = f"bench-{preset}-{hashlib.sha256(description.encode()).hexdigest()[:8]}"
    if not (RUNS / name / "results.json").exists():
        subprocess.run([sys.executable, "-m", "stlm", "train", preset, "--name", name, "--resume", "--seed", str(seed), *flags],
                       check=True)
    found = read_json(RUNS / name / "results.json")
    return {"run": name, "bits_per_byte": found["val/bits_per_byte"], "bytes": found["trained_bytes"], "steps": found["steps"],
            "seconds": found["seconds"], "parameters": found["parameters"]["unique"]}


def collect(name: str, record: dict[str, Any], arms: dict[str, Callable[[int], dict[str, Any]]], seeds: Iterable[int],
            key: str) -> dict[str, Any]:
    """Run every arm with every seed, and record each run as it ends. All arms run with one seed before any has the next.

    An arm is a function of the seed that returns figures. ``key``: the figure that is averaged. Runs that are in the file
    already aren't run again.
    """
    path = RESULTS / f"{name}.json"
    record["arms"] = json.loads(path.read_text())["arms"] if path.exists() else {}
    for seed in seeds:
        for title, run in arms.items():
            runs = record["arms"].setdefault(title, {"seeds": []})["seeds"]
            if all(done["seed"] != seed for done in runs):
                runs.append({"seed": seed, **run(seed)})
                record["arms"][title].update(spread(done[key] for done in runs))
                save(name, record)
    return record


def print_table(title: str, columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    CONSOLE.print(table)
