"""Figures of generated text: variety, repetition, grammar."""

from __future__ import annotations

from typing import Any

from stlm.errors import UserError
from stlm.evaluate import quality
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.grid import Grid
from stlm.evaluate.records import digest_of
from stlm.evaluate.task import Figures, TaskConfig


class Config(TaskConfig):
    title = "writing"
    options = ("text", "judge")

    def run(self, context: Evaluation) -> Figures:
        held = context.held_out()
        n, parts = quality.run(context.scorer, held.documents, context.texts.known(), context.judge, context.seed,
                               context.progress)
        if not n:
            raise UserError(f"{held.source}: no document is long enough to be continued; {quality.PROMPT + quality.LENGTH} "
                            "characters are needed")
        return {"n": n, "published": held.total, "source": held.source, "subset_seed": held.seed,
                "digest": digest_of(held.documents), "groups": parts}

    def tables(self, found: dict[str, Any]) -> list[Grid]:
        parts = [found["results"][name] for name in found["group_subtasks"][self.kind]]
        names = [part["alias"].removeprefix(" - ") for part in parts]
        rows = [(key, *(f"{part[key]:.3f}" for part in parts)) for key in parts[0] if key != "alias"]
        return [Grid("What it writes", ("", *names), rows, note="human: how people continued the same beginnings. "
                     "grammar: the mean log10 of a word's score after the two words before it.")]
