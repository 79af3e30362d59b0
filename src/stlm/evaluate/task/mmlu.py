"""Exam questions of 57 subjects, four choices each.

Hendrycks et al. 2021, arXiv 2009.03300.
"""

from __future__ import annotations

from stlm.evaluate.item_task import DatasetTask
from stlm.evaluate.items import Item, multiple_choice
from stlm.evaluate.records import Place, Record
from stlm.evaluate.subjects import CATEGORIES

TEST = Place("mmlu_test", "cais/mmlu", "all", "test")
SIZE = 14_042


class Config(DatasetTask):
    title = "MMLU"
    whole = SIZE
    groups = ("paper",)
    place = TEST

    def item(self, record: Record) -> Item:
        return question(record)


def question(record: Record) -> Item:
    """The item of a record. Its last group is its subject."""
    subject, choices = record["subject"], record["choices"]
    listed = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", choices, strict=True))
    return multiple_choice(f"{opening_of(subject)}{record['question'].strip()}\n{listed}Answer:", list("ABCD"),
                           record["gold"] if "gold" in record else record["answer"], (CATEGORIES[subject], subject))


def opening_of(subject: str) -> str:
    """The beginning of every prompt of a subject."""
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
