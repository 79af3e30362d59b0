"""The persons and things of a story, and the words that refer to them."""

from __future__ import annotations

import dataclasses

from stlm.text.world.lexicon import LOCATIVE


@dataclasses.dataclass(eq=False)
class Person:
    """A person of the story. count: how many pieces of fruit they have. knows: for things, the place where they believe them.
    """

    name: str
    she: bool
    count: int = 0
    knows: dict[Thing, str] = dataclasses.field(default_factory=dict)

    @property
    def subject(self) -> str:
        return "she" if self.she else "he"

    @property
    def object(self) -> str:
        return "her" if self.she else "him"

    @property
    def possessive(self) -> str:
        return "her" if self.she else "his"


@dataclasses.dataclass(eq=False)
class Thing:
    """A thing of the story. place: where it is; None while ``holder`` has it or nobody has found it."""

    words: str
    plural: bool
    place: str | None = None
    holder: Person | None = None

    @property
    def named(self) -> str:
        return f"the {self.words}"

    @property
    def was(self) -> str:
        return "were" if self.plural else "was"

    @property
    def is_(self) -> str:
        return "are" if self.plural else "is"

    @property
    def it(self) -> str:
        return "them" if self.plural else "it"

    @property
    def they(self) -> str:
        return "they" if self.plural else "it"


def at(place: str) -> str:
    """``in the garden``, ``at the mill``, ``on the hill``."""
    return f"{LOCATIVE.get(place, 'in')} {place}"


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def article(word: str) -> str:
    """``a`` or ``an``."""
    return "an" if word[0] in "aeiou" or word == "honest" else "a"
