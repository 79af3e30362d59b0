"""Scores of other models, to compare ours with. Collected in November 2026 from model cards, repositories and papers.

Figures are from lm-evaluation-harness, in per cent: ``acc``, and ``acc_norm`` for HellaSwag. ``N`` marks figures of ARC-easy
for which only ``acc_norm`` is known. Two figures are a range, because sources differ.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from stlm.evaluate.grid import Grid
from stlm.evaluate.results import metrics_of
from stlm.evaluate.task import find


@dataclasses.dataclass(frozen=True)
class Anchor:
    """parameters: in millions. tokens: number of training tokens, from its model card. scores: by the names of our tasks."""

    name: str
    parameters: float
    tokens: str
    scores: dict[str, str]


ANCHORS = [
    Anchor("Glint-1.3", 0.98, "100B", {"blimp": "68.7", "arc_easy": "32.5"}),
    Anchor("GoLLeM-v5", 17.4, "10B", {"blimp": "70.4", "arc_easy": "39.5"}),
    Anchor("GoLLeM-v5", 31.4, "10B", {"blimp": "70.1", "arc_easy": "42.6"}),
    Anchor("Quark-50m", 50, "", {"blimp": "68.1", "arc_easy": "36.5N", "hellaswag": "28.5", "winogrande": "47.4",
                                 "mmlu": "25.6"}),
    Anchor("JugnuLM", 53, "12B", {"blimp": "78.1", "arc_easy": "51.4"}),
    Anchor("Pythia-70m", 70, "300B", {"blimp": "72-75", "arc_easy": "37-40", "winogrande": "49-53", "mmlu": "24-25"}),
    Anchor("JugnuLM", 110, "25B", {"blimp": "82.5", "arc_easy": "55.1"}),
    Anchor("GPT-2", 124, "", {"arc_easy": "39.4N", "hellaswag": "31.3"}),
    Anchor("MobileLLM", 125, "1T", {"arc_easy": "43.9", "hellaswag": "38.9", "winogrande": "53.1"}),
    Anchor("SmolLM", 135, "", {"arc_easy": "56.3N", "hellaswag": "42.7", "winogrande": "52.7"}),
    Anchor("Pythia-160m", 160, "300B", {"arc_easy": "43.5", "hellaswag": "30.1", "winogrande": "53.1", "mmlu": "24.4"}),
]


TASKS = tuple(dict.fromkeys(task for anchor in ANCHORS for task in anchor.scores))


def beside(found: dict[str, Any]) -> Grid:
    """The scores of a model (``results.json``) and those of other models, sorted by size. A star marks scores of a subset."""
    own = found["parameters"] / 1e6, found["model_name"], [_cell(found["results"].get(task)) for task in TASKS]
    others = [(anchor.parameters, anchor.name, [anchor.scores.get(task, "") for task in TASKS]) for anchor in ANCHORS]
    rows = sorted([*others, own], key=lambda row: row[0])
    return Grid("Beside others", ("model", "size", *(find(task).title for task in TASKS)),
                [(name, f"{size:.3g}M", *cells) for size, name, cells in rows], own=rows.index(own),
                note="Per cent. N: acc_norm. *: of a subset.")


def _cell(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    return f"{100 * figures[metrics_of(figures)[0] + ',none']:.1f}" + ("*" if figures["n"] < figures["published"] else "")
