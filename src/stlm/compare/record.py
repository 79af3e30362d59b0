"""The results of a recipe so far: ``results/RECIPE/results.json``."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

from stlm.compare.job import MEASURED, NEEDED, Run
from stlm.compare.plan import Plan
from stlm.compare.recipe import Recipe
from stlm.compare.statistics import p_value, summary
from stlm.config.files import read_json
from stlm.config.writing import to_json, write_whole
from stlm.errors import UserError
from stlm.train.folder import BITS, EXCERPT_BITS, RunFolder, read_metrics

RESULTS = Path("results")
SEED = {"seed", "run", "curve", *NEEDED, *MEASURED}  # fields that a run in a record has to have
UNITS = {"minutes": "minutes of training", "megabytes": "million bytes of text", "teraflops": "teraflops of arithmetic",
         "steps": "steps", "epochs": "passes over the text"}


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The content of an earlier record. runs: runs of this plan, by name. first: runs that others build on. others: names of
    runs that the recipe doesn't describe, or that another version wrote with other fields; the next record won't have them.
    """

    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    first: dict[str, Any] = dataclasses.field(default_factory=dict)
    others: frozenset[str] = frozenset()


def path_of(plan: Plan) -> Path:
    """The path of a recipe's record."""
    return RESULTS / plan.name / "results.json"


def on_record(plan: Plan) -> Recorded:
    """The finished runs in an earlier record, which may be from another machine. Runs with equal names have equal descriptions.
    """
    path = path_of(plan)
    if not path.exists():
        return Recorded()
    before = read_json(path)
    try:
        found = {seed["run"]: seed for arm in before["arms"].values() for seed in arm["seeds"]}
        first = dict(before["first"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not a record of this version; move it away, and the finished runs in runs/ are used "
                        "again") from None
    whole = {name: seed for name, seed in found.items() if seed.keys() >= SEED}
    runs = {run.name: whole[run.name] for _, _, run in plan.runs()
            if run.name in whole and run.measured_by(whole[run.name])}
    firsts = {title: run for title, run in first.items() if title in plan.first and run.get("run") == plan.first[title].name}
    return Recorded(runs, firsts,
                    frozenset(found.keys() - {run.name for _, _, run in plan.runs() if run.name in whole}))


def set_aside(plan: Plan) -> Path:
    """Copy the record. Returns the path of the copy."""
    path = path_of(plan)
    free = next(copy for n in itertools.count(1) if not (copy := path.with_name(f"earlier-{n}.json")).exists())
    write_whole(free, path.read_text())
    return free


def make_record(plan: Plan, recorded: Recorded) -> dict[str, Any]:
    """The runs that are finished, here or in the earlier record, and their statistics. Arms without finished runs are left out.
    """
    recipe = plan.recipe
    arms: dict[str, Any] = {}
    for arm, runs in plan.arms.items():
        if seeds := [_of_run(seed, run, recipe) if run.finished else recorded.runs[run.name] for seed, run in runs.items()
                     if run.finished or run.name in recorded.runs]:
            arms[arm] = {"config": recipe.arms[arm], "uses": recipe.uses(arm), "seeds": seeds}
    values = {arm: {seed["seed"]: seed[BITS] for seed in found["seeds"]} for arm, found in arms.items()}
    for arm, found in arms.items():
        shown = summary([*values[arm].values()])
        found |= {"mean": shown.mean, "std": shown.std, "n": shown.n,
                  "interval": None if math.isnan(shown.low) else [shown.low, shown.high],
                  "p": {other: p_value(values[arm], values[other]) for other in recipe.opponents
                        if other in values and arm != other}}
        found["scores"] = {name: _score(name, found, arms.get(recipe.baseline)) for name in found["seeds"][0].get("scores", {})}
    return {"question": recipe.question, "rule": recipe.rule, "held_equal": f"{recipe.amount:g} {UNITS[recipe.equal]}",
            "test": "paired t-test over seeds, two-sided", "comparisons": len(arms) - (recipe.baseline in arms),
            "baseline": recipe.baseline, "against": recipe.against, "flags": recipe.every, "arms": arms,
            "first": recorded.first | {title: {"config": recipe.first[title], **_of_run(0, run, recipe)}
                                    for title, run in plan.first.items() if run.finished}}


def _score(name: str, found: dict[str, Any], base: dict[str, Any] | None) -> dict[str, Any]:
    """Mean and deviation of a benchmark's figure over the seeds of an arm, and the p-value against the baseline."""
    own, other = ({seed["seed"]: seed["scores"][name] for seed in arm["seeds"] if name in seed.get("scores", {})} if arm else {}
                  for arm in (found, base))
    shown = summary([*own.values()])
    return {"mean": shown.mean, "std": shown.std, "p": None if found is base else p_value(own, other)}


def _of_run(seed: int, run: Run, recipe: Recipe) -> dict[str, Any]:
    found, metrics = run.found(), read_metrics(RunFolder(run.folder).metrics)
    kept = (BITS, "protocol", "entropy", "baselines", "bytes_per_patch", "parameters", "trained_bytes", "seconds", "flops",
            "steps", "peak_megabytes", "written_bytes_per_second", "provenance")
    return {"seed": seed, **{name: found[name] for name in kept if name in found},
            "texts": {text: found["texts"][text] for text in run.texts},
            "scores": {name: value for name, value in found.get("scores", {}).items() if name.partition("/")[0] in run.tasks},
            "run": run.name,
            "curve": [[line["bytes"], line["seconds"], line["flops"], round(line[EXCERPT_BITS], 4)]
                      for line in metrics if EXCERPT_BITS in line],
            "reading": [[text, round(bits, 2), end] for text, bits, end in found["reading"]]
            if seed == recipe.seeds[0] else None}  # the report shows one reading per arm


def save(plan: Plan, record: dict[str, Any]) -> None:
    """Write the record of a recipe."""
    path_of(plan).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path_of(plan), _lines(record) + "\n")


def _lines(value: Any, depth: int = 1) -> str:
    """JSON with one line for each field and each run. Lists of numbers stay on one line."""
    space, end = "\n" + " " * depth, "\n" + " " * (depth - 1)
    if isinstance(value, dict) and value:
        return "{" + ",".join(f"{space}{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()) + end + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[" + ",".join(space + _lines(item, depth + 1) for item in value) + end + "]"
    return to_json(value)
