"""Minimal pairs of the built-in corpus: a smoke test that needs no data.

A word that follows from a story is replaced by a word that the grammar can't have written there; the parser checks this. The
text after it is the same, up to the end of the sentence. So a model that has learned the grammar finds the original story
likelier.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from stlm.evaluate.items import Item
from stlm.text.world import WorldParseError, parse_story, write_story

START = 1 << 41  # the number of the first story; training text and held-out text never get that far
EACH = 250  # pairs of each kind
_SWAPS = {"was": "were", "were": "was", "is": "are", "are": "is", "he": "she", "she": "he", "He": "She", "She": "He",
          "his": "her", "it": "them", "them": "it"}
_AGREEMENT = ("was", "were", "is", "are")


def pairs() -> list[Item]:
    """``EACH`` pairs each of agreement, pronouns, entities (who, and where) and numbers."""
    left, items, index = dict.fromkeys(("agreement", "pronouns", "entities", "numbers"), EACH), list[Item](), START
    while any(left.values()):
        for kind, item in _of_story(write_story(0, index).text, index, {kind for kind in left if left[kind]}):
            left[kind] -= 1
            items.append(item)
        index += 1
    return items


def _of_story(text: str, seed: int, wanted: set[str]) -> Iterator[tuple[str, Item]]:
    """At most one pair of each wanted kind."""
    draw = random.Random(seed)
    names = sorted(set(re.findall(r"\b[A-Z][a-z]+(?= (?:had|went|said)\b)|(?<=said )[A-Z][a-z]+", text)))
    places = sorted(set(re.findall(r"(?:in|at|on) (?:the [a-z]+(?: (?:square|tower))?)", text)))
    words = list(re.finditer(r"(?:in|at|on) the (?:village square|old tower|[a-z]+)|[A-Za-z]+|\d+", text))
    draw.shuffle(words)
    for match in words:
        word, kind, other = match[0], "entities", ""
        if word in _SWAPS:
            kind, other = "agreement" if word in _AGREEMENT else "pronouns", _SWAPS[word]
        elif word.isdecimal():
            kind, other = "numbers", str(int(word) + draw.choice([1, 2, 3]))
        elif word in names or word in places:
            rest = [one for one in (names if word in names else places) if one != word]
            other = draw.choice(rest) if rest else ""
        if kind in wanted and other and _impossible(text, match.start(), match.end(), other):
            wanted.remove(kind)
            end = re.compile(r"[.!?;]\"?").search(text, match.end())
            after = text[match.end():end.end() if end else len(text)]
            context = text[:match.start()]
            yield kind, Item(((context, word + after), (context, other + after)), (word + after, other + after), 0, (kind,))


def _impossible(text: str, start: int, end: int, other: str) -> bool:
    """Whether the grammar can't have written ``other`` at this point of the story, whatever the choices before it were."""
    try:
        parse_story(text[:start] + other + text[end:])
    except WorldParseError as error:
        return error.place < start + len(other)
    return False
