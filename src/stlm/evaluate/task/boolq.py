"""Yes-or-no questions about a passage.

Clark et al. 2019, arXiv 1905.10044.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record

ANSWERS = ["no", "yes"]


class Config(DatasetTask):
    title = "BoolQ"
    whole = 3270
    place = Place("boolq_validation", "aps/super_glue", "boolq", "validation")

    def item(self, record: Record) -> Item:
        if "query" in record:
            return multiple_choice(record["query"], ANSWERS, ANSWERS.index(record["choices"][record["gold"]]))
        return multiple_choice(f"{record['passage']}\nQuestion: {record['question']}?\nAnswer:", ANSWERS, int(record["label"]))
