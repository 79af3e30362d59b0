"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from stlm.evaluate import results
from stlm.evaluate.grid import Grid


def common(found: dict[str, Any], names: Sequence[str]) -> Table:
    """A table with a row for each metric of these tasks. Tasks without metrics have tables of their own."""
    out = Table(title=f"{found['model_name']}, {found['parameters']:,} parameters", box=SIMPLE_HEAD)
    for column in ("task", "metric", "score", "chance", "n", "ties"):
        out.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for name in names:
        row = found["results"][name]
        n = f"{row['n']:,}" + (f" of {row['published']:,}" if row["n"] < row.get("published", row["n"]) else "")
        for index, metric in enumerate(results.metrics_of(row)):
            share = metric.startswith("acc")
            shown = [f"{value:.1%}" if share else f"{value:.3f}" for value in
                     (row[f"{metric},none"], row.get(f"{metric}{results.STDERR},none")) if value is not None]
            chance = f"{row['chance']:.0%}" if share and "chance" in row else ""
            rest = ["", "", ""] if index else [chance, n, str(row.get("ties", ""))]
            out.add_row("" if index else row["alias"], metric, " ± ".join(shown), *rest)
    rows = [found["results"][name] for name in names]
    notes = [f"{source}: {', '.join(row['alias'] for row in rows if results.origin(row) == source)}"
             for source in dict.fromkeys(map(results.origin, rows)) if source]
    cut = [f"{row['cut']:,} of {row['alias']}" for row in rows if row.get("cut")]
    if cut:
        notes.append(f"prompts whose beginning was left out, because {found['limit']} tokens are the limit: {', '.join(cut)}")
    out.caption = Text("\n".join(notes))
    return out


def draw(grid: Grid) -> Table:
    """A grid as a table, with names on the left and cells on the right."""
    out = Table(title=grid.title, box=SIMPLE_HEAD, caption=grid.note or None)
    for index, column in enumerate(grid.columns):
        out.add_column(column, justify="right" if index else "left", no_wrap=True)
    for number, row in enumerate(grid.rows):
        out.add_row(*row, style="bold" if number == grid.own else None)
    return out
