"""``results.json`` of a model's scores, in the format of lm-evaluation-harness."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlm.config.files import read_table
from stlm.config.writing import to_json, write_json
from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.records import digest_of
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.task import Figures, TaskConfig
from stlm.train.checkpoint import Checkpoint

FILE = "results.json"
STDERR = "_stderr"
SUM = "sum"  # the record's own checksum
VERSION = 2  # of all tasks here: increased whenever the same answers give other figures than before
TABLES = ("results", "n-samples", "n-shot", "versions", "higher_is_better", "configs", "group_subtasks", "seconds")


def open_scores(folder: Path, scorer: Scorer, cost: dict[str, Any] | None = None) -> dict[str, Any]:
    """The scores of this model so far; without results if the folder has none, or those of other weights, of another window or
    of another version, or if something else changed the file. cost: what the model's training took. UserError if the file was
    never a record of scores.
    """
    path = folder / FILE
    found = read_table(path) if path.exists() else None
    if found is not None and not all(isinstance(found.get(table), dict) for table in TABLES):
        raise UserError(f"{path}: this is no record of `stlm eval`; name another folder with --output")
    if found is not None and found.pop(SUM, None) == _sum(found) and set(found["versions"].values()) <= {VERSION} and (
            found["fingerprint"], found["limit"]) == (scorer.fingerprint, scorer.limit):
        return found
    return no_scores(scorer, cost)


def plain(task: str, figures: Figures) -> dict[str, float]:
    """The figures of a task that are shown in tables, as TASK/METRIC."""
    return {f"{task}/{metric}": figures[f"{metric},none"] for metric in metrics_of(figures)}


def no_scores(scorer: Scorer, cost: dict[str, Any] | None = None) -> dict[str, Any]:
    """A record without results."""
    return {**{table: {} for table in TABLES}, "groups": {}, "model_name": scorer.name, "fingerprint": scorer.fingerprint,
            "parameters": scorer.n_parameters, "limit": scorer.limit, "training": cost}


def add(scores: dict[str, Any], done: TaskConfig, figures: Figures, seconds: float, asked: Evaluation) -> None:
    """Add the figures of a task, and those of its groups as tasks of their own. They take the place of the task's figures
    before, whatever those were of.
    """
    task, parts = done.kind, figures.get("groups", {})
    _remove(scores, task)
    names = [f"{task}_{part.replace(' ', '_')}" for part in parts]
    own = {"alias": done.title or task, **{name: value for name, value in figures.items() if name != "groups"}}
    scores["results"] |= {task: own, **{name: {"alias": f" - {part}", **values}
                                        for name, (part, values) in zip(names, parts.items(), strict=True)}}
    scores["group_subtasks"][task] = names
    scores["configs"][task] = {"task": task, "num_fewshot": done.shots, "dataset": own.get("source"), **_asked(asked)}
    scores["seconds"][task] = round(seconds, 1)
    for name in (task, *names):
        row = scores["results"][name]
        n = row.get("n", own["n"])
        scores["n-samples"][name] = {"original": own.get("published", n) if name == task else n, "effective": n}
        scores["n-shot"][name], scores["versions"][name] = done.shots, VERSION
        scores["higher_is_better"][name] = {metric: metric.startswith("acc") for metric in metrics_of(row)}
    scores["date"] = time.time()


def _asked(asked: Evaluation) -> dict[str, Any]:
    """What was asked for, so that every score says what it is of."""
    judge = None if asked.judge is None else {"name": asked.judge.name, "fingerprint": asked.judge.fingerprint}
    return {"fingerprint": asked.scorer.fingerprint, "limit": asked.limit, "seed": asked.seed, "layer": asked.layer,
            "judge": judge}


def _remove(scores: dict[str, Any], task: str) -> None:
    for name in (*scores["group_subtasks"].get(task, ()), task):
        for table in TABLES:
            scores[table].pop(name, None)


def save(folder: Path, scores: dict[str, Any]) -> Path:
    """Write the scores. Returns the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, {**scores, SUM: _sum(scores)})
    return folder / FILE


def _sum(scores: dict[str, Any]) -> str:
    return digest_of([to_json(scores).encode()])


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


def origin(figures: dict[str, Any]) -> str:
    """Where the items or documents of a score are from, and how they were drawn."""
    seed = figures.get("subset_seed")
    return figures.get("source", "") + ("" if seed is None else f", drawn by seed {seed}")


def metrics_of(figures: dict[str, Any]) -> list[str]:
    """The names of all metrics in ``figures``, the main one first."""
    return [name.partition(",")[0] for name in figures if name.endswith(",none") and STDERR not in name]
