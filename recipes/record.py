"""What the recipes share: runs that are trained once, and records of one shape."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stlm.config.files import read_json
from stlm.train.folder import RUNS, write_whole


def trained(name: str, preset: str, flags: list[str], threads: int | None = None) -> Path:
    """The folder of a run, trained first unless it is there. ``threads``: of the run; all cores where None."""
    folder = RUNS / f"recipe-{name}"
    if not (folder / "results.json").exists():
        environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        subprocess.run([sys.executable, "-m", "stlm", "train", preset, "--name", folder.name, "--resume", *flags],
                       check=True, env=environment, stdout=subprocess.DEVNULL if threads else None)
    return folder


def arm(config: object, seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm of a record: its runs, and the mean and deviation of their bits per byte."""
    values = [run["val/bits_per_byte"] for run in seeds]
    return {"config": config, "seeds": seeds, "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else 0.0, "n": len(values), "p": None}


def save(recipe: str, question: str, rule: str, held_equal: str, arms: dict[str, Any], folders: Iterable[Path]) -> Path:
    """Write ``results/RECIPE/results.json``; the hardware is that of the last run."""
    hardware = [read_json(folder / "env.json") for folder in folders][-1]
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    path = Path("results") / recipe / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"question": question, "rule": rule, "held_equal": held_equal, "arms": arms, "hardware": hardware, "git": git}
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path
