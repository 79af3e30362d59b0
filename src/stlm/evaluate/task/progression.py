"""Real text against the same, spoilt in six ways.

The progression test (arXiv 2405.14159, section 4): does a model find what a person wrote likelier than that, spoilt?
Each text gives a beginning and how it goes on, and the going on is spoilt in one way: letters, words or pairs of words
shuffled, a word left out, put in, or replaced. Likelihoods are compared by byte, because lengths differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from stlm.errors import UserError
from stlm.evaluate.evaluation import TaskData
from stlm.evaluate.item_task import ItemTask
from stlm.evaluate.items import Item

BEFORE, AFTER = 300, 150  # bytes of a beginning and of how it goes on, about: both end with a word
MOST = 250  # texts

Words = list[str]


class Config(ItemTask):
    title = "progression"
    metrics = ("acc_bytes",)
    options = ("text",)

    def items(self, data: TaskData) -> tuple[list[Item], str]:
        held = data.held_out()
        made = items(held.documents, data.seed)
        if not made:
            raise UserError(f"{held.source}: no document is long enough for the progression test")
        return made, held.source


def _in_runs(words: Words, size: int, draw: random.Random) -> Words:
    runs = [words[i:i + size] for i in range(0, len(words), size)]
    draw.shuffle(runs)
    return [word for run in runs for word in run]


def _letters(words: Words, draw: random.Random, others: Words) -> Words:
    letters = list(" ".join(words))
    draw.shuffle(letters)
    return "".join(letters).split(" ")


def _insert(words: Words, draw: random.Random, others: Words) -> Words:
    place = draw.randrange(len(words))
    return [*words[:place], draw.choice(others), *words[place:]]


def _delete(words: Words, draw: random.Random, others: Words) -> Words:
    place = draw.randrange(len(words) - 1)  # without the last, what's left would be a whole beginning
    return [*words[:place], *words[place + 1:]]


def _replace(words: Words, draw: random.Random, others: Words) -> Words:
    place = draw.randrange(len(words))
    return [*words[:place], draw.choice(others), *words[place + 1:]]


WAYS: dict[str, Callable[[Words, random.Random, Words], Words]] = {
    "letters shuffled": _letters,
    "words shuffled": lambda words, draw, others: _in_runs(words, 1, draw),
    "pairs shuffled": lambda words, draw, others: _in_runs(words, 2, draw),
    "word left out": _delete,
    "word put in": _insert,
    "word replaced": _replace,
}


def items(documents: Iterable[bytes], seed: int = 0) -> list[Item]:
    """An item for each text and way to spoil it; the words that are put in are of the same texts."""
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
            spoilt = next((made for _ in range(20) if (made := way(after, draw, others)) != after), None)
            if spoilt is not None:
                choices = tuple(" " + " ".join(words) for words in (after, spoilt))
                out.append(Item(tuple((before, choice) for choice in choices), choices, 0, (name,)))
    return out


def _fill(words: Words, size: int) -> Words:
    """The first words that come to ``size`` bytes or a little more."""
    n = total = 0
    while n < len(words) and total < size:
        total += len(words[n].encode("utf-8")) + 1
        n += 1
    return words[:n]
