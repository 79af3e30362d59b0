"""The report of a comparison: one self-contained HTML file beside its record."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlm.compare.plan import Plan
from stlm.compare.record import KEY, RESULTS
from stlm.report import patches
from stlm.report.html import INK, MUTED, drawing, render, svg
from stlm.train.folder import write_whole

PARTS = (("tables", "#94a3b8"), ("local", "#fb923c"), ("trunk", "#475569"))


def write_page(plan: Plan, record: dict[str, Any]) -> Path:
    """Write ``results/RECIPE/report.html``, and its pictures of means and costs as files of their own; where the page lies."""
    arms = dict(sorted(record["arms"].items(), key=lambda item: item[1]["mean"]))
    base = arms.get(record["baseline"])
    rows = [_row(arm, found, base["mean"] if base else None) for arm, found in arms.items()]
    colours = _colours(list(record["arms"]))
    pictures = {"means": _means(arms, record["baseline"]), **_trades(rows, colours)}
    page = render("compare.html.jinja", name=plan.name, record=record, rows=rows, parts=PARTS, texts=list(plan.recipe.texts),
                  pictures=pictures, curves=_curves(arms, colours), colours=colours, readings=_readings(arms))
    path = RESULTS / plan.name / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    for name, picture in pictures.items():
        write_whole(path.with_name(f"{name}.svg"), picture)
    return path


def _row(arm: str, found: dict[str, Any], base: float | None) -> dict[str, Any]:
    """Figures of one arm: means over its seeds, parameters in thousands."""
    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return sum(value(seed) for seed in found["seeds"]) / found["n"]

    parameters = found["seeds"][0]["parameters"]
    return {
        "arm": arm, "config": found["config"], "mean": found["mean"], "std": found["std"], "n": found["n"],
        "interval": found["interval"], "p": found["p"], "change": None if base is None else found["mean"] / base - 1,
        "parameters": parameters, "shares": {part: 100 * parameters[part] / parameters["unique"] for part, _ in PARTS},
        "texts": {text: sum(seed["texts"][text] for seed in found["seeds"]) / found["n"]
                  for text in found["seeds"][0]["texts"]},
        "bytes_per_patch": mean(lambda seed: seed["bytes_per_patch"]),
        "megabytes": mean(lambda seed: seed["trained_bytes"] / 1e6),
        "seconds": mean(lambda seed: seed["seconds"]), "teraflops": mean(lambda seed: seed["flops"] / 1e12),
        "kilobytes_per_second": mean(lambda seed: seed["trained_bytes"] / seed["seconds"] / 1e3),
        "peak_megabytes": mean(lambda seed: seed["peak_megabytes"]),
        "written": mean(lambda seed: seed["written_bytes_per_second"])}


def _colours(arms: list[str]) -> dict[str, str]:
    from matplotlib import colormaps, colors
    return {arm: colors.to_hex(colormaps["tab20"](place % 20)) for place, arm in enumerate(arms)}


def _means(arms: dict[str, Any], baseline: str) -> str:
    """Every run a dot, every arm a mean with its interval, best on top."""
    figure, axes = drawing(7.2, 0.6 + 0.32 * len(arms))
    for place, (arm, found) in enumerate(reversed(arms.items())):
        colour = INK if arm == baseline else "#c2410c"
        axes.plot([seed[KEY] for seed in found["seeds"]], [place] * found["n"], "o", color=MUTED, markersize=4, alpha=0.7)
        if found["interval"]:
            axes.plot(found["interval"], [place, place], color=colour, linewidth=1.4)
        axes.plot([found["mean"]], [place], "|", color=colour, markersize=12, markeredgewidth=2)
    axes.set_yticks(range(len(arms)), list(reversed(arms)))
    means = [found["mean"] for found in arms.values()]
    end = _end(means)
    room = 0.08 * (end - min(means)) + 0.005
    axes.set(xlabel="bits per byte of held-out text: each run, the mean, and its 95 % interval",
             xlim=(min(means) - room, end + room))
    for place, mean in enumerate(reversed(means)):
        if mean > end:
            axes.annotate(f"{mean:.2f} \u2192", (end + room, place), ha="right", va="center", color=MUTED)
    return svg(figure)


def _end(means: list[float]) -> float:
    """The largest mean that pictures show: arms that are far from all others would leave these no room."""
    return min(max(means), min(means) + 3 * (statistics.median(means) - min(means)) + 0.01)


def _curves(arms: dict[str, Any], colours: dict[str, str]) -> list[str]:
    """Bits per byte against bytes, seconds and FLOPs, every run a line."""
    def against(label: str, spent: Callable[[dict[str, Any], list[float]], float]) -> str:
        figure, axes = drawing(4.6, 3.6)
        for arm, found in arms.items():
            for seed in found["seeds"]:
                if seed["curve"]:
                    axes.plot([spent(seed, look) for look in seed["curve"]], [look[2] for look in seed["curve"]],
                              color=colours[arm], linewidth=1.2)
        ends = [seed["curve"][-1][2] for found in arms.values() for seed in found["seeds"] if seed["curve"]]
        if ends:
            axes.set_ylim(min(ends) * 0.97, _end(ends) * 1.25)
        axes.set(xlabel=label, ylabel="bits per byte of held-out text", xlim=(0, None))
        return svg(figure)

    def teraflops(seed: dict[str, Any], look: list[float]) -> float:
        return look[0] * seed["flops"] / seed["trained_bytes"] / 1e12

    return [against("megabytes of text", lambda seed, look: look[0] / 1e6),
            against("seconds", lambda seed, look: look[1]), against("training FLOPs (10\u00b9\u00b2)", teraflops)]


def _trades(rows: list[dict[str, Any]], colours: dict[str, str]) -> dict[str, str]:
    """Bits per byte against what a model costs to keep and to use, every arm a dot."""
    end = _end([row["mean"] for row in rows])
    far, rows = [row["arm"] for row in rows if row["mean"] > end], [row for row in rows if row["mean"] <= end]

    def against(label: str, cost: Callable[[dict[str, Any]], float]) -> str:
        figure, axes = drawing(4.6, 3.6)
        for row in rows:
            axes.plot(cost(row), row["mean"], "o", color=colours[row["arm"]])
            axes.annotate(row["arm"], (cost(row), row["mean"]), xytext=(4, 3), textcoords="offset points", fontsize=7)
        axes.set(xlabel=label, ylabel="bits per byte", xscale="log")
        axes.margins(x=0.18)
        if far:
            axes.set_title(f"far above: {', '.join(far)}", color=MUTED, fontsize=8)
        return svg(figure)

    return {"parameters": against("unique parameters, millions", lambda row: row["parameters"]["unique"] / 1e6),
            "flops": against("FLOPs a byte in training, millions", lambda row: row["teraflops"] / row["megabytes"]),
            "milliseconds": against("milliseconds to write a byte", lambda row: 1000 / row["written"])}


def _readings(arms: dict[str, Any]) -> dict[str, list[list[patches.Mark]]]:
    """The same text as each arm's first run reads it."""
    return {arm: patches.marks(reading) for arm, record in arms.items() if (reading := record["seeds"][0].get("reading"))}
