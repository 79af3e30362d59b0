"""The program that writes a story.

All people of a story are at one place and move together. A sentence is chosen from left to right: the person, an action that is
possible now, and its object. What follows from the story costs no bits: where things are, who holds them, how many apples are
left, which pronoun fits, and what people say (everybody says what they believe).
"""

from __future__ import annotations

import dataclasses

from stlm.text.world import lexicon as words
from stlm.text.world.cast import Person, Thing, article, at, capital, listed
from stlm.text.world.chance import Reader, Writer
from stlm.text.world.deeds import Deeds
from stlm.text.world.state import MOST_PEOPLE, MOST_THINGS, Option

VERSION = 1  # of the grammar: increased whenever the text of some story changes
SHORTEST, LONGEST = 8, 30  # sentences after which a story may end, and after which it must end



@dataclasses.dataclass(frozen=True)
class Story:
    """text: ASCII, ends with a line feed. bits: its exact information, -log2 P(text). entropy: the sum of the entropies of the
    choices made for it. The mean of this over stories is the entropy of a story.
    """

    text: str
    bits: float
    entropy: float


def write_story(seed: int, index: int) -> Story:
    """Story number ``index`` of the world ``seed``. Stories of different numbers are independent."""
    writer = Writer(f"{seed}/{index}")
    Teller(writer).tell()
    return Story(writer.text, writer.bits, writer.entropy)


def parse_story(text: str) -> float:
    """The information of a story in bits. WorldParseError if the grammar can't have written it."""
    reader = Reader(text)
    Teller(reader).tell()
    reader.finish()
    return reader.bits


class Teller(Deeds):
    """Writes a whole story: the opening, then sentences about actions and speech, then the end."""

    def tell(self) -> None:
        """Write the whole story."""
        self._opening()
        while self._sentence():
            self.sentences += 1
        self.say("\n")

    def _opening(self) -> None:
        self.word(words.TIMES)
        self.say(" ")
        self.pick(*((f"{article(trait)} {trait} ", weight, None) for trait, weight in words.TRAITS))
        self.word(words.ROLES)
        self.say(" named ")
        hero = self.newcomer(both=True)
        self.say(" was ")
        self.place = self.pick(*((at(place), weight, place) for place, weight in words.PLACES))
        self.say(". ")
        wants = self.pick((f"{capital(hero.subject)} wanted to find ", 5, True),
                          (f"{capital(hero.subject)} was waiting for ", 4, False))
        if wants:
            self.goal = self.new_thing(owner=hero)
            self.say(". ")
        else:
            self.companion(hero)
            self.say(". Soon they met. ")
        self.last = hero

    def _sentence(self) -> bool:
        """Write one more sentence. False after the last one of the story."""
        options: list[Option] = []
        hero, several = self.people[0], len(self.people) > 1
        if self.last is not None:
            options.append((f"{capital(self.last.subject)} ", 7, (self.acts, self.last)))
        for person in self.people:
            if person is not self.last:
                options.append((f"{person.name} ", 2, (self.acts, person)))
                options.append((f"Then {person.name} ", 1, (self.acts, person)))
        if several:
            options += [("They ", 3, (self._act_together, None)), ('"', 2, (self._speak, None))]
        options.append(("It began ", 0.4, (self._weather, None)))
        if len(self.things) < MOST_THINGS:
            options += [("There was ", 0.9, (self._there_was, False)), ("There were ", 0.3, (self._there_was, True))]
        if len(self.people) < MOST_PEOPLE:
            options.append(("Just then ", 0.8, (self._arrival, hero)))
        lying = [thing for thing in self.things if thing.place]
        if len(lying) > 1:
            options.append(("The ", 1, (self._compare, lying)))
        if self.sentences >= LONGEST:
            options = []
        if self.sentences >= SHORTEST:
            options += [("In the end ", 1.5, (self._close, None)), ("That night ", 0.75, (self._close, None))]
        what, about = self.pick(*options)
        if what == self._close:
            self._close()
            return False
        what(about) if about is not None else what()
        self.say(" ")
        return True

    def _act_together(self) -> None:
        both = "both" if len(self.people) == 2 else "all"
        does: list[Option] = [(f"{way} to ", 2 * weight, True) for way, weight in words.WAYS]
        does += [(f"{both} laughed.", 0.2, False), ("sat down together.", 0.2, False), (f"were {both} ", 0.6, None)]
        moves = self.pick(*does)
        if moves:
            self.go(self.people[0].knows)
            self.say(".")
            self.arrive()
        elif moves is None:
            self.word([*words.GOOD, *words.BAD])
            self.say(".")
        self.last = None

    def _speak(self) -> None:
        """A sentence of speech names the speaker at its end, so the speaker is chosen there. An answer says what a person
        knows.
        """
        asked = [thing for thing in self.things if thing.holder is None and any(thing not in p.knows for p in self.people)]
        says: list[Option] = [("I am ", 2, self._say_mood), ("Let us go to ", 2, self._say_go)]
        if asked:
            says += [(f"Where {thing.is_} {thing.named}?\" asked ", 1.5 + (thing is self.goal), thing) for thing in asked]
        holders = [person for person in self.people if any(thing.holder is person for thing in self.things)]
        if holders:
            says.append(("Look what I have,\" said ", 0.7, holders))
        what = self.pick(*says)
        if isinstance(what, Thing):
            self._ask(what)
        elif isinstance(what, list):
            who = self.whom(what)
            owned = [thing.named for thing in self.things if thing.holder is who]
            self.say(f", and {who.subject} showed {listed(owned)}.")
            self.last = who
        else:
            assert callable(what)
            what()

    def _say_mood(self) -> None:
        self.word([*words.GOOD, *words.BAD])
        self.say(',\" said ')
        self.last = self.whom(self.people)
        self.say(".")

    def _say_go(self) -> None:
        self.go(self.people[0].knows)
        self.say(',\" said ')
        self.last = self.whom(self.people)
        self.say(", and so they did.")
        self.arrive()

    def _ask(self, thing: Thing) -> None:
        asker = self.whom([person for person in self.people if thing not in person.knows])
        self.say('. "')
        others = [person for person in self.people if person is not asker]
        answers = [(person, f"{capital(thing.they)} {thing.is_} {at(person.knows[thing])},\" said {person.name}.")
                   for person in others if thing in person.knows]
        if answers:
            teller, answer = self.pick(*((text, 1, (person, text)) for person, text in answers))
            asker.knows[thing] = teller.knows[thing]
            assert answer
        else:
            self.say("I do not know,\" said ")
            self.whom(others)
            self.say(".")
        self.last = asker

    def _weather(self) -> None:
        self.sky = self.word([(sky, weight) for sky, weight in words.SKY if sky != self.sky])
        self.say(".")

    def _there_was(self, plural: bool) -> None:
        thing = self.new_thing(plural=plural, place=self.place)
        self.noticed(thing)
        self.say(" ")
        self.word(words.SPOTS)
        self.say(".")

    def _arrival(self, hero: Person) -> None:
        other = self.companion(hero)
        self.say(" came by.")
        self.last = other

    def _compare(self, lying: list[Thing]) -> None:
        first = self.pick(*((thing.words, 1, thing) for thing in lying))
        self.say(f" {first.was} ")
        self.word(words.MORE)
        self.say(" than ")
        self.among([thing for thing in lying if thing is not first])
        self.say(".")
        self.last = None

    def _close(self) -> None:
        """Write the last sentences. Who has which things follows from the story."""
        endings = []
        for person in self.people:
            has = [thing.named for thing in self.things if thing.holder is person]
            if person.count:
                has.append(f"{person.count} {self.fruit}" if person.count > 1 else f"one of the {self.fruit}")
            if has:
                endings.append(f"{person.name} had {listed(has)}")
        home = f"{listed([person.name for person in self.people])} went home."
        self.say("; ".join([*endings, home]))
