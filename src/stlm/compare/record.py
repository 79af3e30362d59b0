"""What a recipe has found so far: ``results/RECIPE/results.json``."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

from stlm.compare.job import Run
from stlm.compare.plan import Plan
from stlm.compare.statistics import p_value, summary
from stlm.config.files import read_json
from stlm.train.folder import RunFolder, read_lines, write_whole

RESULTS = Path("results")
KEY = "val/bits_per_byte"
UNITS = {"minutes": "minutes of training", "megabytes": "million bytes of text", "teraflops": "teraflops of arithmetic",
         "steps": "steps"}


def make_record(plan: Plan) -> dict[str, Any]:
    """The runs that are finished, and what they come to; arms without a finished run are left out."""
    recipe = plan.recipe
    arms: dict[str, Any] = {}
    for arm, runs in plan.arms.items():
        if seeds := [_of_run(seed, run) for seed, run in runs.items() if run.finished]:
            arms[arm] = {"config": recipe.arms[arm], "seeds": seeds}
    values = {arm: [seed[KEY] for seed in found["seeds"]] for arm, found in arms.items()}
    for arm, found in arms.items():
        shown = summary(values[arm])
        found |= {"mean": shown.mean, "std": shown.std, "n": shown.n,
                  "interval": None if math.isnan(shown.low) else [shown.low, shown.high],
                  "p": p_value(values[arm], values[recipe.baseline]) if recipe.baseline in values and arm != recipe.baseline
                  else None}
    last = next((run for _, _, run in plan.runs() if run.finished), None)
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {"question": recipe.question, "rule": recipe.rule, "held_equal": f"{recipe.amount:g} {UNITS[recipe.equal]}",
            "baseline": recipe.baseline, "flags": recipe.every, "arms": arms,
            "first": {title: {"config": recipe.first[title], **_of_run(0, run)}
                      for title, run in plan.first.items() if run.finished},
            "hardware": read_json(RunFolder(last.folder).env) if last else None, "git": git}


def _of_run(seed: int, run: Run) -> dict[str, Any]:
    found, metrics = run.found(), read_lines(RunFolder(run.folder).metrics)
    kept = (KEY, "entropy", "baselines", "bytes_per_patch", "parameters", "trained_bytes", "seconds", "flops", "steps",
            "peak_megabytes", "written_bytes_per_second")
    return {"seed": seed, **{name: found[name] for name in kept}, "texts": {text: found["texts"][text] for text in run.texts},
            "run": run.name, "curve": [[line["bytes"], line["seconds"], line[KEY]] for line in metrics if KEY in line]}


def save(plan: Plan, record: dict[str, Any]) -> Path:
    """Write the record of a recipe; where it lies."""
    path = RESULTS / plan.name / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path
