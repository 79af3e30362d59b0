"""Tasks that consist of items."""

from __future__ import annotations

import abc
import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from stlm.errors import UserError
from stlm.evaluate.benchmark import answer, judge, seconds_of, summarize
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.grid import Grid
from stlm.evaluate.items import Item, sample
from stlm.evaluate.records import Place, Record, digest_of, load
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.task import Figures, TaskConfig


class ItemTask(TaskConfig):
    """A task whose figures are means over items. Answers are saved as they come."""

    metrics: ClassVar[tuple[str, ...]] = ("acc",)
    """Names from `benchmark.judge`. The first is the main metric of the task, and ties are counted by it."""
    whole: ClassVar[int | None] = None
    """The number of items in the published set, if the local files may have fewer."""
    breakdown: ClassVar[tuple[str, ...]] = ()
    """Kinds of groups that have a table of their own. The name of a group of a kind begins with the kind and a space."""

    @abc.abstractmethod
    def items(self, data: TaskData) -> tuple[list[Item], str]:
        """All items, without a limit, and a phrase that says where they are from."""

    def run(self, context: Evaluation) -> Figures:
        return self.prepare(context)(context)

    def prepare(self, data: TaskData) -> Callable[[Evaluation], Figures]:
        everything, source = self.items(data)
        if not everything:
            raise UserError(f"{self.kind}: {source} holds no items")
        items = sample(everything, data.limit, data.seed)
        drawn = {"published": self.whole or len(everything), "source": source, "digest": digest_of(
            json.dumps([item.pairs, item.choices, item.gold]).encode() for item in items),
                 "subset_seed": data.seed if len(items) < len(everything) else None}
        return lambda context: {**self.score(context.scorer, items, context.kept, context.progress), **drawn}

    def score(self, scorer: Scorer, items: Sequence[Item], kept: Path | None = None,
              progress: Callable[[float], None] = lambda share: None) -> Figures:
        """The figures of a model on these items. kept, progress: as for `benchmark.answer`."""
        answers = answer(scorer, self.kind, items, kept, progress)
        figures = summarize(self.metrics, items, [judge(item, found) for item, found in zip(items, answers, strict=True)])
        return figures if kept is None else figures | {"seconds": seconds_of(kept)}

    def tables(self, found: dict[str, Any]) -> list[Grid]:
        parts = [found["results"][name] for name in found["group_subtasks"][self.kind]]
        grids = []
        for kind in self.breakdown:
            rows = {row["alias"].removeprefix(f" - {kind} ").replace("_", " "): row
                    for row in sorted(parts, key=lambda row: row["alias"]) if row["alias"].startswith(f" - {kind} ")}
            shares = {name: row[f"{self.metrics[0]},none"] for name, row in rows.items()}
            if rows:
                grids.append(Grid(
                    f"{self.title} by {kind}", ("", self.metrics[0], "n"),
                    [(name, f"{shares[name]:.1%}", f"{row['n']:,}") for name, row in rows.items()],
                    shares=tuple(shares.values()), chance=found["results"][self.kind]["chance"]))
        return grids


class DatasetTask(ItemTask):
    """A task whose items are in a data set."""

    options = ("data",)
    place: ClassVar[Place]
    """Where the items are."""
    examples: ClassVar[Place | None] = None
    """Where solved examples are. ``shots`` of them come before each item; their last group is that of the item."""

    @abc.abstractmethod
    def item(self, record: Record) -> Item:
        """The item of a record. The fields of the record are those of the hub or of ``$STLM_DATA/eval``."""

    def opening(self, item: Item) -> str:
        """The beginning of a prompt, before the solved examples."""
        return ""

    def items(self, data: TaskData) -> tuple[list[Item], str]:
        records, source = load(self.place, data.folder)
        try:
            items = [self.item(record) for record in records]
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise UserError(f"{self.kind}: an item from {source} has the wrong form "
                            f"({type(error).__name__}: {error}); it has to have the fields of {self.place.hub}") from None
        return (items if self.examples is None else self._shown(items, self.examples, data.folder)), source

    def _shown(self, items: list[Item], examples: Place, folder: Path | None) -> list[Item]:
        """The items with solved examples before them."""
        solved = defaultdict[tuple[str, ...], list[str]](list)
        for record in load(examples, folder)[0]:
            example = self.item(record)
            question = example.pairs[0][0].removeprefix(self.opening(example))
            solved[example.groups[-1:]].append(f"{question} {example.choices[example.gold]}\n\n")
        out = []
        for item in items:
            opening, before = self.opening(item), "".join(solved[item.groups[-1:]][:self.shots])
            pairs = tuple((opening + before + context.removeprefix(opening), text) for context, text in item.pairs)
            out.append(dataclasses.replace(item, pairs=pairs))
        return out
