"""Real text compared with a damaged copy, for six kinds of damage.

The progression test (arXiv 2405.14159, section 4): is the text that a person wrote likelier than its damaged copy? Each text is
split into a beginning and a continuation, and the continuation is damaged in one way: letters, words or pairs of words are
shuffled, or a word is left out, put in, or replaced. Likelihoods are compared per byte, because lengths differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from stlm.errors import UserError
from stlm.evaluate.evaluation import TaskData
from stlm.evaluate.item_task import ItemTask
from stlm.evaluate.items import Item

BEFORE, AFTER = 300, 150  # approximate bytes of a beginning and of its continuation: both end with a whole word
MOST = 250  # texts

Words = list[str]


class Config(ItemTask):
    title = "progression"
    metrics = ("acc_bytes",)
    options = ("text",)

    def items(self, data: TaskData) -> tuple[list[Item], str]:
        held = data.held_out()
        found = items(held.documents, data.seed)
        if not found:
            raise UserError(f"{held.source}: no document is long enough for the progression test")
        return found, held.source


def _in_runs(words: Words, size: int, draw: random.Random) -> Words:
    runs = [words[i:i + size] for i in range(0, len(words), size)]
    draw.shuffle(runs)
    return [word for run in runs for word in run]


def _letters(words: Words, draw: random.Random, others: Words) -> Words:
    letters = list(" ".join(words))
    draw.shuffle(letters)
    return "".join(letters).split(" ")


def _insert(words: Words, draw: random.Random, others: Words) -> Words:
    index = draw.randrange(len(words))
    return [*words[:index], draw.choice(others), *words[index:]]


def _delete(words: Words, draw: random.Random, others: Words) -> Words:
    index = draw.randrange(len(words) - 1)  # never the last word: without it, the rest would be undamaged
    return [*words[:index], *words[index + 1:]]


def _replace(words: Words, draw: random.Random, others: Words) -> Words:
    index = draw.randrange(len(words))
    return [*words[:index], draw.choice(others), *words[index + 1:]]


WAYS: dict[str, Callable[[Words, random.Random, Words], Words]] = {
    "letters shuffled": _letters,
    "words shuffled": lambda words, draw, others: _in_runs(words, 1, draw),
    "pairs shuffled": lambda words, draw, others: _in_runs(words, 2, draw),
    "word left out": _delete,
    "word put in": _insert,
    "word replaced": _replace,
}


def items(documents: Iterable[bytes], seed: int = 0) -> list[Item]:
    """An item for each text and each kind of damage. Words that are put in come from the same texts."""
    draw, pieces = random.Random(seed), list[tuple[str, Words]]()
    for document in documents:
        words = document.decode("utf-8", errors="ignore").split(" ")
        beginning = _fill(words, BEFORE)
        after = _fill(words[len(beginning):], AFTER)
        if len(" ".join(after)) >= AFTER * 0.8 and len(after) > 3:
            pieces.append((" ".join(beginning), after))
        if len(pieces) == MOST:
            break
    others = [word for _, after in pieces for word in after]
    out = []
    for before, after in pieces:
        for name, way in WAYS.items():
            damaged = next((other for _ in range(20) if (other := way(after, draw, others)) != after), None)
            if damaged is not None:
                choices = tuple(" " + " ".join(words) for words in (after, damaged))
                out.append(Item(tuple((before, choice) for choice in choices), choices, 0, (name,)))
    return out


def _fill(words: Words, size: int) -> Words:
    """The first words that have ``size`` bytes together, or a little more."""
    n = total = 0
    while n < len(words) and total < size:
        total += len(words[n].encode("utf-8")) + 1
        n += 1
    return words[:n]
