"""English grammar: which of two sentences is grammatical.

Warstadt et al. 2020, arXiv 1912.00582.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record


class Config(DatasetTask):
    title = "BLiMP"
    whole = 67_000
    groups = ("paper",)
    place = Place("blimp", "nyu-mll/blimp", "*", "train")
    breakdown = ("field", "phenomenon")

    def item(self, record: Record) -> Item:
        # the paper has twelve phenomena (table 1); the data set has one more name
        phenomenon = record["linguistics_term"].replace("s-selection", "argument_structure")
        groups = (f"field {record['field'].replace('/', '_')}", f"phenomenon {phenomenon}", record["UID"])
        return multiple_choice("", [record["sentence_good"], record["sentence_bad"]], 0, groups)
