"""Science questions from school, the easier ones.

Clark et al. 2018, arXiv 1803.05457.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record, choices_of, gold_of


class Config(DatasetTask):
    title = "ARC-easy"
    whole = 2376
    metrics = ("acc", "acc_norm", "acc_bytes")
    groups = ("paper",)
    place = Place("arc_easy_test", "allenai/ai2_arc", "ARC-Easy", "test")

    def item(self, record: Record) -> Item:
        return question(record)


def question(record: Record) -> Item:
    """An item of either part of ARC."""
    return multiple_choice(f"Question: {record['question']}\nAnswer:", choices_of(record), gold_of(record))
