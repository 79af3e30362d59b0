"""Science questions from school, the harder ones.

Clark et al. 2018, arXiv 1803.05457.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item
from stlm.evaluate.records import Place, Record
from stlm.evaluate.task.arc_easy import question


class Config(DatasetTask):
    title = "ARC-challenge"
    whole = 1172
    metrics = ("acc_norm", "acc", "acc_bytes")
    place = Place("arc_challenge_test", "allenai/ai2_arc", "ARC-Challenge", "test")

    def item(self, record: Record) -> Item:
        return question(record)
