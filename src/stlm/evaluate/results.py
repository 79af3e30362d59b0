"""``results.json`` of a model's scores, in the format of lm-evaluation-harness."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlm.config.files import read_table
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.task import Figures, TaskConfig
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import write_whole

FILE = "results.json"
STDERR = "_stderr"
VERSION = 1  # of all tasks here: increased whenever the same answers give other figures than before


def open_scores(folder: Path, scorer: Scorer, cost: dict[str, Any] | None = None) -> dict[str, Any]:
    """The scores of this model so far; without results if the folder has none, or those of another model. cost: what its
    training took.
    """
    path = folder / FILE
    if path.exists():
        found = read_table(path)
        if found.get("fingerprint") == scorer.fingerprint:
            return found
    return {"results": {}, "n-samples": {}, "n-shot": {}, "versions": {}, "higher_is_better": {}, "configs": {},
            "group_subtasks": {}, "groups": {}, "model_name": scorer.name, "fingerprint": scorer.fingerprint,
            "parameters": scorer.n_parameters, "limit": scorer.limit, "training": cost, "seconds": {}}


def add(scores: dict[str, Any], done: TaskConfig, figures: Figures, seconds: float) -> None:
    """Add the figures of a task, and those of its groups as tasks of their own. Figures of a subset don't replace figures of
    all items.
    """
    task = done.kind
    if task in scores["results"] and figures["n"] < scores["results"][task]["n"] == figures.get("published"):
        return
    parts = figures.get("groups", {})
    own = {"alias": done.title or task, **{name: value for name, value in figures.items() if name != "groups"}}
    scores["results"] = {name: kept for name, kept in scores["results"].items() if name not in scores["group_subtasks"].get(
        task, [])}
    names = [f"{task}_{part.replace(' ', '_')}" for part in parts]
    scores["group_subtasks"][task] = names
    scores["results"][task] = own
    for name, (part, values) in zip(names, parts.items(), strict=True):
        scores["results"][name] = {"alias": f" - {part}", **values}
    scores["configs"][task] = {"task": task, "num_fewshot": done.shots, "dataset": own.get("source"),
                               "seed": own.get("subset_seed")}
    scores["seconds"][task] = round(seconds, 1)
    for name in (task, *names):
        row = scores["results"][name]
        n = row.get("n", own["n"])
        scores["n-samples"][name] = {"original": own.get("published", n) if name == task else n, "effective": n}
        scores["n-shot"][name], scores["versions"][name] = done.shots, VERSION
        scores["higher_is_better"][name] = {metric: metric.startswith("acc") for metric in metrics_of(row)}
    scores["date"] = time.time()


def save(folder: Path, scores: dict[str, Any]) -> Path:
    """Write the scores. Returns the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, json.dumps(scores, indent=1) + "\n")
    return folder / FILE


def training_cost(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a model's training took, for the record."""
    counters, env = checkpoint.counters, checkpoint.folder.parent.parent / "env.json"
    machine = read_table(env) if env.exists() else {}
    return {"steps": counters["step"], "seconds": counters["spent"], "bytes": counters["n_bytes"], "flops": counters["flops"],
            "text": checkpoint.config.data.names,
            **{name: machine[name] for name in ("cpu", "device", "threads", "torch") if name in machine}}


def timed(work: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """The result of ``work``, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def metrics_of(figures: dict[str, Any]) -> list[str]:
    """The names of all metrics in ``figures``, the main one first."""
    return [name.partition(",")[0] for name in figures if name.endswith(",none") and STDERR not in name]
