"""Questions of common sense, five choices each.

Talmor et al. 2019, arXiv 1811.00937.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record, choices_of, gold_of


class Config(DatasetTask):
    title = "CommonsenseQA"
    whole = 1221
    place = Place("csqa_validation", "tau/commonsense_qa", None, "validation")

    def item(self, record: Record) -> Item:
        listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCDE", choices_of(record), strict=True))
        return multiple_choice(f"Question: {record['question'].strip()}\n{listed}Answer:", list("ABCDE"), gold_of(record))
