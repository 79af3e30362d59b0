"""Science questions that need a fact and common sense.

Mihaylov et al. 2018, arXiv 1809.02789.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record, choices_of, gold_of


class Config(DatasetTask):
    title = "OpenBookQA"
    whole = 500
    metrics = ("acc_norm", "acc", "acc_bytes")
    place = Place("openbookqa_test", "allenai/openbookqa", "main", "test")

    def item(self, record: Record) -> Item:
        context = record["question"] if "question" in record else record["question_stem"]
        return multiple_choice(context, choices_of(record), gold_of(record))
