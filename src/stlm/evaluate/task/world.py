"""Minimal pairs of the built-in corpus, which need no data."""

from __future__ import annotations

from stlm.evaluate import world_pairs
from stlm.evaluate.evaluation import TaskData
from stlm.evaluate.item_task import ItemTask
from stlm.evaluate.items import Item


class Config(ItemTask):
    title = "built-in pairs"

    def items(self, data: TaskData) -> tuple[list[Item], str]:
        return world_pairs.pairs(), "built-in corpus"
