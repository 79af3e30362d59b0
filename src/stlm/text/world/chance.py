"""Choices with known probabilities, written as text or read back from it.

One program writes a story and asks a `Chooser` for every choice. Two rules make the text and the choices equivalent:

1. Every choice writes its surface at once. The `Table` of its options depends only on the story so far.
2. Within a table no surface is a prefix of another.

So the same program can read a text back: at every choice exactly one surface of the table fits. The text determines the
choices, and the choices determine the text. Hence P(text) is the product of the probabilities of its choices, and the
information of a text is the sum of their negative logarithms. It is exact, not estimated.
"""

from __future__ import annotations

import abc
import bisect
import functools
import itertools
import math
import random
from typing import Any, NoReturn


class WorldParseError(ValueError):
    """A text that the grammar can't have written. place: index of the first character that doesn't fit."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(f"character {place}: {message}")
        self.place = place


class Table:
    """The options of one choice: surfaces, with probabilities in proportion to their weights."""

    def __init__(self, surfaces: tuple[str, ...], weights: tuple[float, ...]) -> None:
        for first, second in itertools.pairwise(sorted(surfaces)):
            if second.startswith(first):
                raise ValueError(f"{first!r} is a prefix of {second!r}: a reader could not tell them apart")
        if not surfaces or min(weights) <= 0:
            raise ValueError("a choice needs options, each with a weight above 0")
        total = math.fsum(weights)
        self.surfaces = surfaces
        self.probabilities = [weight / total for weight in weights]
        self.bits = [-math.log2(p) for p in self.probabilities]
        self.entropy = math.fsum(p * b for p, b in zip(self.probabilities, self.bits, strict=True))
        self._cumulative = list(itertools.accumulate(self.probabilities))
        self._lengths = sorted({len(surface) for surface in surfaces})
        self._places = {surface: place for place, surface in enumerate(surfaces)}

    def draw(self, chance: float) -> int:
        """The option for ``chance``, a number between 0 and 1."""
        return min(bisect.bisect_right(self._cumulative, chance), len(self.surfaces) - 1)

    def find(self, text: str, start: int) -> int | None:
        """The option whose surface is at ``start`` in the text, or None. There is at most one."""
        for length in self._lengths:
            place = self._places.get(text[start:start + length])
            if place is not None:
                return place
        return None


@functools.lru_cache(maxsize=1 << 16)
def table(surfaces: tuple[str, ...], weights: tuple[float, ...]) -> Table:
    """The table of these options. Each table is built once."""
    return Table(surfaces, weights)


class Chooser(abc.ABC):
    """Makes the choices of a story, or reads them from its text. bits: -log2 of the probability of the choices so far."""

    def __init__(self) -> None:
        self.bits = 0.0

    @abc.abstractmethod
    def say(self, text: str) -> None:
        """Write (or read) text that follows from the story so far, without a choice."""

    @abc.abstractmethod
    def choose(self, options: Table) -> int:
        """Choose an option, write (or read) its surface, and return its index."""

    def pick(self, *options: tuple[str, float, Any]) -> Any:
        """Choose one of several (surface, weight, value) and return its value."""
        surfaces, weights, values = zip(*options, strict=True)
        return values[self.choose(table(surfaces, weights))]


class Writer(Chooser):
    """Draws the choices. entropy: the sum of the entropies of all tables used. Its mean over stories is a story's entropy."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.entropy = 0.0
        self._random = random.Random(key).random  # seeded through sha512 of the text: the same everywhere
        self._pieces: list[str] = []

    def say(self, text: str) -> None:
        self._pieces.append(text)

    def choose(self, options: Table) -> int:
        place = options.draw(self._random())
        self.bits += options.bits[place]
        self.entropy += options.entropy
        self._pieces.append(options.surfaces[place])
        return place

    @property
    def text(self) -> str:
        return "".join(self._pieces)


class Reader(Chooser):
    """Reads the choices from a text. WorldParseError if the text doesn't fit the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text, self._place = text, 0

    def say(self, text: str) -> None:
        if not self._text.startswith(text, self._place):
            self._fail(f"expected {text!r}")
        self._place += len(text)

    def choose(self, options: Table) -> int:
        place = options.find(self._text, self._place)
        if place is None:
            self._fail(f"expected one of {', '.join(map(repr, options.surfaces[:6]))} ...")
        self.bits += options.bits[place]
        self._place += len(options.surfaces[place])
        return place

    def finish(self) -> None:
        """Check that the text ends here."""
        if self._place != len(self._text):
            self._fail("expected the end")

    def _fail(self, wanted: str) -> NoReturn:
        found = self._text[self._place:self._place + 24]
        raise WorldParseError(self._place, f"{wanted}, found {found!r}")
