"""The last word of a passage.

Paperno et al. 2016, arXiv 1606.06031, as OpenAI prepared it.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record


class Config(DatasetTask):
    title = "LAMBADA"
    whole = 5153
    metrics = ("acc", "perplexity")
    place = Place("lambada_openai_test", "EleutherAI/lambada_openai", "default", "test")

    def item(self, record: Record) -> Item:
        if "text" in record:
            context, _, word = record["text"].rpartition(" ")
        else:
            context, word = record["context"], record["continuation"]
        return multiple_choice(context, [word], 0)
