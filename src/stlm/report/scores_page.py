"""The page about a model's scores: one self-contained HTML file beside ``results.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stlm.evaluate.anchors import ANCHORS, beside
from stlm.evaluate.results import STDERR, metrics_of
from stlm.evaluate.tasks import PAPER, TASKS
from stlm.report.html import ACCENT, INK, MUTED, drawing, render, svg
from stlm.train.folder import write_whole

PHENOMENON = " - phenomenon "


def write_page(folder: Path, found: dict[str, Any]) -> Path:
    """Write ``scores.html``; where it lies. found: what `evaluate.scores` holds."""
    path, results = folder / "scores.html", found["results"]
    parts = {name for names in found["group_subtasks"].values() for name in names}
    rows = [{"task": name, **_row(results[name])} for name in results if name not in parts and metrics_of(results[name])]
    grouped = {results[task]["alias"]: [{"task": name, **_row(results[name])} for name in names if metrics_of(results[name])]
               for task, names in found["group_subtasks"].items()}
    write_whole(path, render(
        "scores.html.jinja", found=found, rows=rows, groups={task: own for task, own in grouped.items() if own},
        name=f"Scores of {found['model_name']}", writing=_writing(found),
        phenomena=_phenomena(found), picture=_picture(found, "blimp") or _picture(found, "arc_easy"), beside=beside(found),
        titles=[TASKS[name].title for name in PAPER]))
    return path


def _row(figures: dict[str, Any]) -> dict[str, Any]:
    shown = [(metric, figures[f"{metric},none"], figures.get(f"{metric}{STDERR},none")) for metric in metrics_of(figures)]
    return {**figures, "alias": figures["alias"].removeprefix(" - "), "metrics": shown}


def _writing(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Figures of what was written, and of what people wrote."""
    rows = [dict(found["results"][name]) for name in found["group_subtasks"].get("writing", [])]
    return {row.pop("alias").removeprefix(" - "): row for row in rows}


def _phenomena(found: dict[str, Any]) -> str:
    """BLiMP by phenomenon, with a line at chance."""
    rows = [found["results"][name] for name in found["group_subtasks"].get("blimp", [])]
    shown = sorted((row["acc,none"], row["alias"].removeprefix(PHENOMENON).replace("_", " ")) for row in rows
                   if row["alias"].startswith(PHENOMENON))
    if not shown:
        return ""
    figure, axes = drawing(7, 0.32 * len(shown) + 0.8)
    bars = axes.barh([name for _, name in shown], [100 * value for value, _ in shown], color=ACCENT, height=0.65)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.axvline(50, color=INK, linewidth=1, linestyle="--")
    axes.annotate("chance", (50, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
    axes.set(xlim=(0, 100), xlabel="pairs of which the right one is likelier, %")
    return svg(figure)


def _picture(found: dict[str, Any], task: str) -> str:
    """A score against parameters, among what others reached."""
    row = found["results"].get(task)
    others = [(anchor.parameters, float(anchor.scores[task].rstrip("N").split("-")[0]), anchor.name) for anchor in ANCHORS
              if task in anchor.scores]
    if row is None:
        return ""
    figure, axes = drawing(7, 3.6)
    for size, value, name in others:
        axes.plot(size, value, "o", color=MUTED)
        axes.annotate(name, (size, value), xytext=(5, 5), textcoords="offset points", fontsize=8, color=MUTED)
    own = (found["parameters"] / 1e6, 100 * row[f"{metrics_of(row)[0]},none"])
    axes.plot(*own, "o", color=ACCENT, markersize=9)
    subset = f" ({row['n']:,} of {row['published']:,})" if row["n"] < row["published"] else ""
    axes.annotate(found["model_name"] + subset, own, xytext=(7, -12), textcoords="offset points", color=ACCENT)
    axes.axhline(100 * row["chance"], color=INK, linewidth=1, linestyle="--")
    axes.set(xscale="log", xlabel="million parameters", ylabel=f"{row['alias']}, %")
    return svg(figure)
