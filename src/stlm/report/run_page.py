"""One self-contained HTML file about one run. It loads no script, font or picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlm.config.files import read_table
from stlm.config.writing import write_whole
from stlm.errors import UserError
from stlm.report import patch_marks
from stlm.report.html import ACCENT, INK, MUTED, drawing, render, svg
from stlm.train.folder import BITS, EXCERPT_BITS, RunFolder, read_metrics, read_steps


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
        starts=env.get("starts", []) if env else [], config=json.dumps(config, indent=1),
        machine=json.dumps(env, indent=1) if env else "")


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
    """Bits per byte against bytes, seconds and FLOPs. Each curve is an SVG element."""
    if not any("train/bits_per_byte" in record for record in metrics):
        return []
    axes = [("megabytes of text", lambda record: record["bytes"] / 1e6), ("seconds", lambda record: record["seconds"]),
            ("training FLOPs (10\u00b9\u00b2)", lambda record: record["flops"] / 1e12)]
    return [_curve(metrics, results, label, spent) for label, spent in axes]


def _curve(metrics: list[dict[str, Any]], results: dict[str, Any] | None, label: str,
           spent: Callable[[dict[str, Any]], float]) -> str:
    train, held = ([(spent(m), m[name]) for m in metrics if name in m] for name in ("train/bits_per_byte", EXCERPT_BITS))
    figure, axes = drawing(4.6, 3.4)
    axes.plot(*zip(*train, strict=True), color=MUTED, linewidth=1, label="training text")
    if held:
        axes.plot(*zip(*held, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=3, label="held-out text")
    top = max(value for _, value in train)
    if results is not None:
        top = min(top, 1.8 * max(results["baselines"].values()))  # the first steps are so high that the rest would look flat
        lines = sorted(results["baselines"].items(), key=lambda line: line[1])
        for index, (name, value) in enumerate(lines):
            axes.axhline(value, color=MUTED, linewidth=0.8, linestyle=":")
            axes.annotate(name, (1 - 0.2 * (index % 2), value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          fontsize=9)
        if results["entropy"] is not None:
            axes.axhline(results["entropy"], color=INK, linewidth=1, linestyle="--")
            axes.annotate("exact entropy: the lower limit", (1, results["entropy"]),
                          xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=9)
    axes.set(xlabel=label, ylabel="bits per byte", ylim=(0, top * 1.03), xlim=(0, None))
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    return svg(figure)
