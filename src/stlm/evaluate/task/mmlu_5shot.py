"""MMLU, with five solved questions of the same subject before each question."""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item
from stlm.evaluate.records import Place, Record
from stlm.evaluate.task.mmlu import SIZE, TEST, opening_of, question


class Config(DatasetTask):
    title = "MMLU, 5 shots"
    whole = SIZE
    shots = 5
    place = TEST
    examples = Place("mmlu_dev", "cais/mmlu", "all", "dev")

    def item(self, record: Record) -> Item:
        return question(record)

    def opening(self, item: Item) -> str:
        return opening_of(item.groups[-1])
