"""The state of a story, and the phrases that describe it."""

from __future__ import annotations

from collections.abc import Iterable

from stlm.text.world import lexicon as words
from stlm.text.world.cast import Person, Thing, article, listed
from stlm.text.world.chance import Chooser

MOST_THINGS, MOST_PEOPLE = 6, 4
LOOKS = (*words.COLOURS, *words.LOOKS)
Option = tuple[str, float, object]  # what is written, its weight, what it means


class State:
    """All people of a story are at one place and move together."""

    def __init__(self, chooser: Chooser) -> None:
        self.say, self.pick = chooser.say, chooser.pick
        self.people: list[Person] = []
        self.things: list[Thing] = []
        self.place = self.sky = self.fruit = ""
        self.goal: Thing | None = None
        self.last: Person | None = None  # the person whom a pronoun would mean
        self.sentences = 0

    def word(self, ranked: Iterable[tuple[str, float]]) -> str:
        return self.pick(*((word, weight, word) for word, weight in ranked))

    def number(self, least: int, most: int) -> int:
        """A number as digits and a space. The space keeps one number from being a prefix of another."""
        if most == least:
            self.say(f"{least} ")
            return least
        return self.pick(*((f"{n} ", 1.0, n) for n in range(least, most + 1)))

    def whom(self, people: list[Person]) -> Person:
        """One of a few people, by name."""
        if len(people) == 1:
            self.say(people[0].name)
            return people[0]
        return self.pick(*((person.name, 1, person) for person in people))

    def among(self, things: list[Thing]) -> Thing:
        """One of a few known things, by its name."""
        if len(things) == 1:
            self.say(things[0].named)
            return things[0]
        return self.pick(*((f"{thing.named}", 1 + (thing is self.goal), thing) for thing in things))

    def newcomer(self, both: bool = False, she: bool = True) -> Person:
        taken = {person.name for person in self.people}
        names = [(name, weight, (name, True)) for name, weight in words.SHE if (both or she) and name not in taken]
        names += [(name, weight, (name, False)) for name, weight in words.HE if (both or not she) and name not in taken]
        name, is_she = self.pick(*names)
        self.people.append(Person(name, is_she))
        return self.people[-1]

    def companion(self, of: Person) -> Person:
        """``her sister Anna``: the word for the relation decides between woman and man, or leaves that to the name."""
        self.say(f"{of.possessive} ")
        she = self.pick(*((f"{word} ", weight, None) for word, weight in words.RELATIONS),
                        *((f"{word} ", weight, True) for word, weight in words.HER_KIN),
                        *((f"{word} ", weight, False) for word, weight in words.HIS_KIN))
        return self.newcomer(both=she is None, she=bool(she))

    def look(self, plural: bool | None = None) -> tuple[str, bool]:
        """``a red `` or ``some red ``: the adjective, and whether the noun that has to follow is plural."""
        options: list[Option] = []
        if plural is not True:
            options += [(f"{article(look)} {look} ", 3 * weight, (look, False)) for look, weight in LOOKS]
        if plural is not False:
            options += [(f"some {look} ", weight, (look, True)) for look, weight in LOOKS]
        return self.pick(*options)

    def new_thing(self, owner: Person | None = None, plural: bool | None = None, place: str | None = None) -> Thing:
        """``her red kite``, ``a red kite``, ``some old shoes``. Two things of a story never share a noun."""
        taken = {thing.words.split()[-1] for thing in self.things}
        if owner is not None:
            self.say(f"{owner.possessive} ")
            look = self.pick(*((f"{look} ", weight, look) for look, weight in LOOKS))
            kinds = [(words.THINGS, 1.0, False), (words.PAIRS, 0.5, True)]
        else:
            look, is_plural = self.look(plural)
            kinds = [(words.PAIRS if is_plural else words.THINGS, 1.0, is_plural)]
        noun, is_plural = self.pick(*((noun, weight * share, (noun, many)) for nouns, share, many in kinds
                                      for noun, weight in nouns if noun not in taken))
        self.things.append(Thing(f"{look} {noun}", is_plural, place))
        return self.things[-1]

    def go(self, known: dict[Thing, str]) -> None:
        aims = {known[thing] for thing in known if thing.place and known[thing] != self.place}
        self.place = self.pick(*((place, weight + (0.3 if place in aims else 0), place)
                                 for place, weight in words.PLACES if place != self.place))

    def arrive(self) -> None:
        here = [thing for thing in self.things if thing.place == self.place]
        if here:
            verb = "was" if len(here) == 1 and not here[0].plural else "were"
            self.say(f" There {verb} {listed([thing.named for thing in here])}.")
        for person in self.people:
            for thing in here:
                person.knows[thing] = self.place

    def noticed(self, thing: Thing) -> None:
        for person in self.people:
            person.knows.pop(thing, None)
            if thing.place:
                person.knows[thing] = thing.place

    def news(self, who: Person) -> list[Thing]:
        """Things whose place this person knows and another one doesn't."""
        return [thing for thing in self.things if thing in who.knows and any(thing not in p.knows for p in self.people)]
