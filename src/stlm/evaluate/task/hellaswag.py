"""Which of four endings continues a description of everyday life.

Zellers et al. 2019, arXiv 1905.07830.
"""

from __future__ import annotations

import re

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record


class Config(DatasetTask):
    title = "HellaSwag"
    whole = 10_042
    metrics = ("acc_norm", "acc", "acc_bytes")
    groups = ("paper",)
    place = Place("hellaswag_val_sub1000", "Rowan/hellaswag", None, "validation")

    def item(self, record: Record) -> Item:
        if "query" in record:
            return multiple_choice(record["query"], record["choices"], record["gold"])
        context = record["ctx_a"] + " " + record["ctx_b"].capitalize()
        return multiple_choice(_tidy(f"{record['activity_label']}: {context}"), [_tidy(end) for end in record["endings"]],
                               int(record["label"]))


def _tidy(text: str) -> str:
    """The text without the marks of the WikiHow part."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
