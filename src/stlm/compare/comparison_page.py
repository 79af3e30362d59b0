"""The report of a comparison: one self-contained HTML file beside the record."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stlm.compare.plan import Plan
from stlm.compare.record import RESULTS
from stlm.compare.statistics import Summary, shown_p, summary, vague
from stlm.compare.verdict import LEVEL, verdicts
from stlm.config.writing import write_whole
from stlm.report import patch_marks
from stlm.report.html import INK, MUTED, drawing, render, svg
from stlm.report.quantities import prefix
from stlm.train.compiling import in_words
from stlm.train.folder import BITS

LINE = 0.19  # inches between names in a column
LETTER = 0.075  # inches of a letter in a name, about
FEW = 20  # a curve of fewer looks has a dot for each
PARTS = (("tables", "#94a3b8"), ("local", "#fb923c"), ("trunk", "#475569"))


@dataclasses.dataclass(frozen=True)
class Unit:
    """A column of costs. name: its heading. field: of a row. size: of the unit."""

    name: str
    field: str
    size: float


def write_page(plan: Plan, record: dict[str, Any]) -> Path:
    """Write ``results/RECIPE/report.html``, and its pictures of means and costs as separate files. Returns the page's path."""
    arms = dict(sorted(record["arms"].items(), key=lambda item: item[1]["mean"]))
    base = arms.get(record["baseline"])
    rows = [_row(arm, found, base, record["first"]) for arm, found in arms.items()]
    colours = _colours(list(record["arms"]))
    pictures = {"means": _means(arms, record["baseline"]), **_trades(rows, colours)}
    page = render("compare.html.jinja", name=plan.name, command=plan.command, record=record, rows=rows, units=_units(rows),
                  parts=PARTS, texts=list(plan.recipe.texts), verdicts=verdicts(record), level=LEVEL, pictures=pictures,
                  curves=_curves(arms, colours, record["first"]), colours=colours, readings=_readings(arms),
                  scores=_scores(arms), provenance=_provenance(record["arms"]), opponents=plan.recipe.opponents,
                  shown_p=shown_p)
    path = RESULTS / plan.name / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    for name, picture in pictures.items():
        write_whole(path.with_name(f"{name}.svg"), picture)
    return path


def _scores(arms: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures of benchmarks, by their names and by arm. Figures that are the same for all arms, such as people's, are left out.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for arm, one in arms.items():
        for name, score in one["scores"].items():
            found.setdefault(name, {})[arm] = score
    return {name: by_arm for name, by_arm in found.items()
            if len(by_arm) == 1 or len({score["mean"] for score in by_arm.values()}) > 1}


def _provenance(arms: dict[str, Any]) -> list[tuple[str, int]]:
    """Each way in which runs were trained (machine, precision, version), and the number of runs."""
    def words(by: dict[str, Any]) -> str:
        machine, s = by["cpu"] if by["device"] == "cpu" else by["device"], "" if by["threads"] == 1 else "s"
        several = f"{n} processes with " if (n := by.get("processes", 1)) > 1 else ""
        return (f"{several}{by['threads']} thread{s} of {machine}, torch {by['torch']}, "
                f"{', '.join(filter(None, (by['precision'], in_words(by['compile']))))}, version {by['git']}")
    return Counter(words(seed["provenance"]) for found in arms.values() for seed in found["seeds"]).most_common()


def _spent_before(found: dict[str, Any], first: dict[str, Any], name: str) -> float:
    """The cost of the runs that an arm builds on, in ``seconds``, ``flops`` or ``trained_bytes``."""
    return sum(first[title][name] for title in found["uses"])


def _units(rows: list[dict[str, Any]]) -> list[Unit]:
    """Columns of costs, each in one unit that fits its largest figure."""
    out = []
    for heading, field in (("{}B read", "bytes"), ("seconds", "seconds"), ("{}FLOPs", "flops"),
                           ("{}B read a second", "bytes_per_second")):
        size, name = prefix(max(row[field] for row in rows)) if "{}" in heading else (1.0, "")
        out.append(Unit(heading.format(name), field, size))
    return out


def _row(arm: str, found: dict[str, Any], base: dict[str, Any] | None, first: dict[str, Any]) -> dict[str, Any]:
    """Figures of one arm: means over its seeds. Costs include the runs that it builds on."""
    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return sum(value(seed) for seed in found["seeds"]) / found["n"]

    def spent(name: str) -> float:
        return _spent_before(found, first, name) + mean(lambda seed: seed[name])

    parameters = found["seeds"][0]["parameters"]
    return {
        "arm": arm, "config": found["config"], "mean": found["mean"], "std": found["std"], "n": found["n"],
        "interval": found["interval"], "vague": vague(found["mean"], found["interval"]),
        "p": found["p"], "change": _relative(found, base, BITS) if base else None,
        "parameters": parameters, "shares": {part: 100 * parameters[part] / parameters["unique"] for part, _ in PARTS},
        "texts": {text: sum(seed["texts"][text] for seed in found["seeds"]) / found["n"]
                  for text in found["seeds"][0]["texts"]},
        "bytes_per_patch": mean(lambda seed: seed["bytes_per_patch"]),
        "bytes": mean(lambda seed: seed["trained_bytes"]), "seconds": spent("seconds"), "flops": spent("flops"),
        "bytes_per_second": mean(lambda seed: seed["trained_bytes"] / seed["seconds"]),
        "peak_megabytes": mean(lambda seed: seed["peak_megabytes"]),
        "written": mean(lambda seed: seed["written_bytes_per_second"]),
        "times": _relative(found, base, "written_bytes_per_second") if base else None}


def _relative(found: dict[str, Any], base: dict[str, Any], name: str) -> Summary | None:
    """A figure of an arm divided by that of the baseline, for each seed that both have. None if there is none."""
    own, other = ({seed["seed"]: seed[name] for seed in arm["seeds"]} for arm in (found, base))
    pairs = [own[seed] / other[seed] for seed in own if seed in other]
    return summary(pairs) if pairs else None


def _colours(arms: list[str]) -> dict[str, str]:
    from matplotlib import colormaps, colors
    return {arm: colors.to_hex(colormaps["tab20"](index % 20)) for index, arm in enumerate(arms)}


def _means(arms: dict[str, Any], baseline: str) -> str:
    """A picture with a dot for each run, and the mean and its interval for each arm. The best arm is at the top. It has room
    for all dots but those of arms that are far above the others; an interval that goes on ends in an arrow.
    """
    figure, axes = drawing(max(7.2, 3.5 + LETTER * max(map(len, arms))), 0.8 + 0.32 * len(arms))
    end = _end([found["mean"] for found in arms.values()])
    low, high = _limits([found for found in arms.values() if found["mean"] <= end])
    for row, (arm, found) in enumerate(reversed(arms.items())):
        colour = INK if arm == baseline else "#c2410c"
        axes.plot([seed[BITS] for seed in found["seeds"]], [row] * found["n"], "o", color=MUTED, markersize=4, alpha=0.7)
        axes.plot([found["mean"]], [row], "|", color=colour, markersize=12, markeredgewidth=2)
        if found["mean"] > end:
            axes.annotate(f"{found['mean']:.2f} \u2192", (high, row), ha="right", va="center", color=MUTED)
        elif found["interval"]:
            axes.plot(found["interval"], [row, row], color=colour, linewidth=1.4)
            for edge, marker, beyond in ((low, "<", found["interval"][0] < low), (high, ">", found["interval"][1] > high)):
                if beyond:
                    axes.plot([edge], [row], marker, color=colour, clip_on=False)
    axes.set_yticks(range(len(arms)), list(reversed(arms)))
    axes.set(xlabel="bits per byte of held-out text: each run, the mean, and its 95 % interval", xlim=(low, high),
             ylim=(-0.6, len(arms) - 0.4))
    return svg(figure)


def _limits(arms: list[dict[str, Any]]) -> tuple[float, float]:
    """Where the axis begins and ends: all dots are inside, and intervals as far as they aren't much wider than the dots."""
    dots = [seed[BITS] for found in arms for seed in found["seeds"]]
    ends = [end for found in arms for end in found["interval"] or ()]
    width = max(dots) - min(dots)
    low, high = max(min(dots) - width, min([*dots, *ends])), min(max(dots) + width, max([*dots, *ends]))
    room = 0.05 * (high - low) + 0.005
    return low - room, high + room


def _end(means: list[float]) -> float:
    """The largest mean that pictures show. Among many arms, those that are much worse than the others are left out, so that
    these have room.
    """
    if len(means) <= 4:
        return max(means)
    return min(max(means), min(means) + 3 * (statistics.median(means) - min(means)) + 0.01)


def _curves(arms: dict[str, Any], colours: dict[str, str], first: dict[str, Any]) -> list[str]:
    """Bits per byte against bytes, seconds and FLOPs, with a line for each run. Seconds and FLOPs include those of the runs
    that an arm builds on. Empty if no run has looked at held-out text.
    """
    looked = {arm: [seed["curve"] for seed in found["seeds"] if seed["curve"]] for arm, found in arms.items()}
    ends = [curve[-1][-1] for curves in looked.values() for curve in curves]
    if not ends:
        return []
    few = [look[-1] for curves in looked.values() for curve in curves if len(curve) < FEW for look in curve]
    top = max([_end(ends) * 1.25, *(value * 1.03 for value in few)])  # the first looks of long runs are far above the others

    def against(label: str, column: int, before: str | None) -> str:
        offsets = {arm: _spent_before(found, first, before) if before else 0.0 for arm, found in arms.items()}
        last = max(offsets[arm] + curve[-1][column] for arm, curves in looked.items() for curve in curves)
        size, unit = prefix(last) if "{}" in label else (1.0, "")
        figure, axes = drawing(4.6, 3.6)
        for arm, curves in looked.items():
            for curve in curves:
                axes.plot([(offsets[arm] + look[column]) / size for look in curve], [look[-1] for look in curve],
                          color=colours[arm], linewidth=1.2, marker="o" if len(curve) < FEW else "", markersize=3)
        axes.set(xlabel=label.format(unit), ylabel="bits per byte of held-out text", xlim=(0, None),
                 ylim=(min(ends) * 0.97, top))
        return svg(figure)

    return [against("{}B of text", 0, None), against("seconds", 1, "seconds"), against("training {}FLOPs", 2, "flops")]


def _trades(rows: list[dict[str, Any]], colours: dict[str, str]) -> dict[str, str]:
    """Bits per byte against costs of a model (parameters, FLOPs, time to generate), with a dot for each arm. A line joins the
    arms for which no other arm is better in both.
    """
    from matplotlib import ticker

    end = _end([row["mean"] for row in rows])
    far, rows = [row["arm"] for row in rows if row["mean"] > end], [row for row in rows if row["mean"] <= end]

    def against(label: str, cost: Callable[[dict[str, Any]], float]) -> str:
        names = LETTER * max(len(row["arm"]) for row in rows)
        width = max(6.0 - names, 3.5)
        figure, axes = drawing(width + names, max(3.6, LINE * len(rows) + 0.8))
        costs = [cost(row) for row in rows]
        for row, x in zip(rows, costs, strict=True):
            axes.plot(x, row["mean"], "o", color=colours[row["arm"]])
        dots = sorted((x, row["mean"]) for row, x in zip(rows, costs, strict=True))
        lowest = itertools.accumulate((y for _, y in dots), min)
        best = [dot for dot, low in zip(dots, lowest, strict=True) if dot[1] == low]
        axes.plot(*zip(*best, strict=True), color=MUTED, linewidth=0.8, zorder=1)
        axes.set(xlabel=label, ylabel="bits per byte")
        if max(costs) > 4 * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        axes.margins(x=0.05)
        _label(axes, [(x, row["mean"], row["arm"]) for row, x in zip(rows, costs, strict=True)])
        if far:
            words = textwrap.fill(f"far above: {', '.join(far)}", int(width / LETTER))
            axes.set_title(words, color=MUTED, fontsize=9)
        return svg(figure)

    return {"parameters": against("unique parameters, millions", lambda row: row["parameters"]["unique"] / 1e6),
            "flops": against("FLOPs a byte in training, millions", lambda row: row["flops"] / row["bytes"] / 1e6),
            "milliseconds": against("milliseconds to write a byte", lambda row: 1000 / row["written"])}


def _label(axes: Any, dots: list[tuple[float, float, str]]) -> None:
    """Write the name of each dot (x, y, name) in a column beside the axes, with a line to the dot, because names beside the
    dots would overlap.
    """
    axes.figure.draw_without_rendering()
    heights = {name: (axes.transData - axes.transAxes).transform((x, y))[1] for x, y, name in dots}
    room = LINE / axes.get_window_extent().height * axes.figure.dpi
    labels, low, top = dict[str, float](), -1.0, 1.0 + room
    for name in sorted(heights, key=heights.__getitem__):
        labels[name] = low = max(heights[name], low + room)
    for name in reversed(labels):  # move labels above the top down again
        labels[name] = top = min(labels[name], top - room)
    for x, y, name in dots:
        axes.annotate(name, (x, y), xytext=(1.06, labels[name]), textcoords="axes fraction", fontsize=9, va="center",
                      arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 1})


def _readings(arms: dict[str, Any]) -> dict[str, list[list[patch_marks.Mark]]]:
    """How the first run of each arm reads the same text."""
    return {arm: patch_marks.marks(reading) for arm, record in arms.items() if (reading := record["seeds"][0].get("reading"))}
