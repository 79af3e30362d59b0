"""The page with a model's scores: one self-contained HTML file beside ``results.json``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from stlm.config.writing import write_whole
from stlm.errors import UserError
from stlm.evaluate import anchors
from stlm.evaluate.grid import Grid
from stlm.evaluate.results import STDERR, metrics_of, origin
from stlm.evaluate.task import TaskConfig, find
from stlm.report.html import ACCENT, INK, MUTED, drawing, render, svg

PAGE = "scores.html"


def write_page(folder: Path, found: dict[str, Any]) -> Path:
    """Write ``scores.html``. Returns its path. found: the content of ``results.json``."""
    path, results = folder / PAGE, found["results"]
    parts = {name for names in found["group_subtasks"].values() for name in names}
    rows = [{"task": name, **_row(results[name])} for name in results if name not in parts and metrics_of(results[name])]
    grouped = {results[task]["alias"]: [{"task": name, **_row(results[name])} for name in names if metrics_of(results[name])]
               for task, names in found["group_subtasks"].items()}
    grids = [grid for task in _tasks(found) for grid in task.tables(found)]
    picture = next((_picture(found, task) for task in anchors.TASKS if task in results), "")
    write_whole(path, render(
        "scores.html.jinja", found=found, rows=rows, groups={task: own for task, own in grouped.items() if own},
        name=f"Scores of {found['model_name']}", grids=[(grid, _bars(grid)) for grid in grids], picture=picture,
        beside=anchors.beside(found)))
    return path


def _tasks(found: dict[str, Any]) -> list[TaskConfig]:
    """The tasks that were scored. The user's own tasks are left out if their modules can't be found any more."""
    out = []
    for kind in found["configs"]:
        with contextlib.suppress(UserError):
            out.append(find(kind))
    return out


def _row(figures: dict[str, Any]) -> dict[str, Any]:
    shown = [(metric, figures[f"{metric},none"], figures.get(f"{metric}{STDERR},none")) for metric in metrics_of(figures)]
    return {**figures, "alias": figures["alias"].removeprefix(" - "), "metrics": shown, "origin": origin(figures)}


def _bars(grid: Grid) -> str:
    """The shares of a table's rows as bars, the lowest at the bottom, with a line at chance. Empty if the table has no shares.
    """
    if not grid.shares:
        return ""
    shown = sorted(zip(grid.shares, (row[0] for row in grid.rows), strict=True))
    figure, axes = drawing(7, 0.32 * len(shown) + 0.8)
    bars = axes.barh([name for _, name in shown], [100 * value for value, _ in shown], color=ACCENT, height=0.65)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    if grid.chance is not None:
        chance = 100 * grid.chance
        axes.axvline(chance, color=INK, linewidth=1, linestyle="--")
        axes.annotate("chance", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
    axes.set(xlim=(0, 100), xlabel=f"{grid.columns[1]}, %")
    return svg(figure)


def _picture(found: dict[str, Any], task: str) -> str:
    """A picture of the score against the number of parameters, together with other models."""
    row = found["results"][task]
    others = [(anchor.parameters, float(anchor.scores[task].rstrip("N").split("-")[0]), anchor.name)
              for anchor in anchors.ANCHORS if task in anchor.scores]
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
