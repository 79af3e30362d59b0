"""One self-contained HTML file about one run. It loads no script, font or picture from elsewhere."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

from stlm.config.files import read_table
from stlm.config.writing import write_whole
from stlm.errors import UserError
from stlm.report import patch_marks
from stlm.report.commands import how_to_run, next_steps
from stlm.report.html import ACCENT, INK, MUTED, drawing, render, svg
from stlm.report.quantities import prefix
from stlm.train.folder import BITS, EXCERPT_BITS, RunFolder, read_metrics, read_steps

TRAIN_BITS = "train/bits_per_byte"
FEW = 20  # with fewer lines of metrics each is a dot, and all are in the picture


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` from the records of a finished or unfinished run. Returns its path."""
    from jinja2 import TemplateError

    results_path = folder.path / "results.json"
    results = read_table(results_path) if results_path.exists() else None
    env = read_table(folder.env) if folder.env.exists() else None
    config = read_table(folder.path / "config.json")
    try:
        html = _page(folder, results, env, config)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TemplateError) as error:
        raise UserError(f"{folder.path}: another version of stlm has written some of these records, or they were changed by "
                        f"hand ({' '.join(str(error).split())[:200]}); to write them again, delete results.json and env.json "
                        "and continue the run with --resume") from None
    write_whole(folder.report, html)
    return folder.report


def _page(folder: RunFolder, results: dict[str, Any] | None, env: dict[str, Any] | None, config: dict[str, Any]) -> str:
    metrics = read_metrics(folder.metrics)
    samples = [sample for sample in read_steps(folder.samples) if isinstance(sample.get("text"), str)]
    return render(
        "page.html.jinja", name=folder.name, results=results, bars=_bars(results) if results else [], env=env,
        curves=_curves(metrics, results), samples=_choose(samples), last=metrics[-1] if metrics else None,
        patches=patch_marks.marks(results["reading"]) if results and "reading" in results else [],
        starts=env.get("starts", []) if env else [], **_commands(folder, results), config=json.dumps(config, indent=1),
        machine=json.dumps(env, indent=1) if env else "")


def _commands(folder: RunFolder, results: dict[str, Any] | None) -> dict[str, Any]:
    """The commands on the page. None if another version described the run, or a part of one's own that is gone."""
    with contextlib.suppress(Exception):  # such a part may raise anything when it is imported
        config, prompt = folder.config(), results["prompt"] if results else "The"
        return {"command": how_to_run(folder, config), "steps": next_steps(folder, config, prompt)}
    return {"command": None, "steps": None}


def _bars(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Bits per byte of compressors, the model and the exact entropy, as bars, the largest first."""
    rows = {**results["baselines"], "this model": results[BITS]}
    if results["entropy"] is not None:
        rows["exact entropy of the text"] = results["entropy"]
    widest = max(rows.values())
    return [{"name": name, "value": value, "width": 100 * value / widest, "ours": name == "this model"}
            for name, value in sorted(rows.items(), key=lambda row: -row[1])]


def _choose(samples: list[dict[str, Any]], most: int = 5) -> list[dict[str, Any]]:
    """A few samples, spread evenly over the run, with the last one."""
    if len(samples) <= most:
        return samples
    return [samples[round(i * (len(samples) - 1) / (most - 1))] for i in range(most)]


def _curves(metrics: list[dict[str, Any]], results: dict[str, Any] | None) -> list[str]:
    """Bits per byte against bytes, seconds and FLOPs. Each curve is an SVG element. Empty if there is nothing to show."""
    lines = [line for line in metrics if _known(line, TRAIN_BITS) or _known(line, EXCERPT_BITS)]
    if not lines:
        return []
    return [_curve(lines, results, label, spent) for label, spent in (("{}B of text", "bytes"), ("seconds", "seconds"),
                                                                      ("training {}FLOPs", "flops"))]


def _known(line: dict[str, Any], name: str) -> bool:
    return line.get(name) is not None and math.isfinite(line[name])


def _curve(metrics: list[dict[str, Any]], results: dict[str, Any] | None, label: str, spent: str) -> str:
    size, unit = prefix(max(line[spent] for line in metrics)) if "{}" in label else (1.0, "")
    train, held = ([(line[spent] / size, line[name]) for line in metrics if _known(line, name)]
                   for name in (TRAIN_BITS, EXCERPT_BITS))
    figure, axes = drawing(4.6, 3.4)
    if train:
        axes.plot(*zip(*train, strict=True), color=MUTED, linewidth=1, marker="o" if len(train) < FEW else "", markersize=4,
                  label="training text")
    if held:
        axes.plot(*zip(*held, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=4, label="held-out text")
    # the first steps of a long run are so high that the rest would look flat
    top = max(value for _, value in [*train[len(train) // FEW:], *held])
    at = results.get("weights_of_step") if results is not None else None
    used = [(line[spent] / size, line[EXCERPT_BITS]) for line in metrics if line["step"] == at and _known(line, EXCERPT_BITS)]
    if used and results is not None and at != results["steps"]:
        axes.plot(*used[-1], color=ACCENT, marker="*", markersize=14, linestyle="", label=f"step {at:,}: what is used")
    if results is not None:
        # a compressor's bits on a very short text are so many that the curves would look flat
        lines = sorted((value, name) for name, value in results["baselines"].items() if value < 1.5 * top)
        top = max([top, *(value for value, _ in lines)])
        for index, (value, name) in enumerate(lines):
            axes.axhline(value, color=MUTED, linewidth=0.8, linestyle=":")
            axes.annotate(name, (1 - 0.2 * (index % 3), value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          fontsize=9)
        if results["entropy"] is not None:
            axes.axhline(results["entropy"], color=INK, linewidth=1, linestyle="--")
            axes.annotate("exact entropy: the lower limit", (1, results["entropy"]),
                          xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=9)
    axes.set(xlabel=label.format(unit), ylabel="bits per byte", ylim=(0, top * 1.06), xlim=(0, None))
    axes.legend(frameon=False, loc="best", fontsize=9)
    return svg(figure)
