"""Which of two names fits into a sentence.

Sakaguchi et al. 2019, arXiv 1907.10641. Scoring is partial (Trinh and Le 2018, arXiv 1806.02847): only the text after the gap
is scored, once for each name in the gap.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item
from stlm.evaluate.records import Place, Record


class Config(DatasetTask):
    title = "WinoGrande"
    whole = 1267
    groups = ("paper",)
    place = Place("winogrande_validation", "allenai/winogrande", "winogrande_xl", "validation")

    def item(self, record: Record) -> Item:
        before, _, after = record["sentence"].partition("_")
        contexts = tuple(before + record[option] for option in ("option1", "option2"))
        return Item(tuple((context, f" {after.strip()}") for context in contexts), contexts, {"1": 0, "2": 1}[record["answer"]])
