"""The actions of one person of a story."""

from __future__ import annotations

from stlm.text.world import lexicon as words
from stlm.text.world.cast import Person, Thing, at
from stlm.text.world.state import MOST_THINGS, Option, State


class Deeds(State):
    """Sentences whose subject is one person. Each returns the person whom a pronoun means afterwards, if it is another one."""

    def acts(self, who: Person) -> None:
        """Choose one of the actions that are possible now."""
        here = [thing for thing in self.things if thing.place == self.place]
        held = [thing for thing in self.things if thing.holder is who]
        others = [person for person in self.people if person is not who]
        missing = self.goal is not None and self.goal.place is None and self.goal.holder is None
        does: list[Option] = [("felt ", 0.6, self._feel), ("was ", 0.4, self._feel), ("sang about ", 1, self._sing),
                              ("counted ", 3, self._count), ("dreamed of ", 7, self._dream), ("wrote to ", 6, self._write),
                              ("heard that ", 9, self._hear)]
        if not others:
            does += [(f"{way} to ", 3 * weight, self._move) for way, weight in words.WAYS]
        if len(self.things) < MOST_THINGS:
            does += [("found ", 2, self._find), ("saw ", 2, self._see)]
        if here:
            does += [("picked up ", 14 if self.goal in here else 4, self._take), ("looked at ", 0.7, self._look)]
        if held:
            does += [("put down ", 1.5, self._put), ("hid ", 0.6, self._hide)]
        if held and others:
            does.append(("gave ", 3, self._give))
        if missing and who is self.people[0]:
            does.append(("looked for ", 3, self._search))
        if not who.count:
            does.append(("bought ", 0.7, self._buy))
        else:
            does += [("ate ", 1, self._eat), ("got ", 1, self._more)]
            if others:
                does.append(("shared ", 1, self._share))
        if others and self.news(who):
            does.append(("told ", 2.5, self._tell_place))
        elif others:
            does.append(("smiled at ", 0.4, self._smile))
        self.last = self.pick(*does)(who) or who

    def _move(self, who: Person) -> None:
        """One person alone goes alone; several go together. They see the things at the new place."""
        self.go(who.knows)
        self.say(".")
        self.arrive()

    def _see(self, who: Person) -> None:
        thing = self.new_thing(place=self.place)
        self.say(" ")
        self.word(words.SPOTS)
        self.say(".")
        self.noticed(thing)

    def _find(self, who: Person) -> None:
        thing = self.new_thing()
        self.say(f" and kept {thing.it}.")
        thing.holder = who

    def _take(self, who: Person) -> None:
        thing = self.among([thing for thing in self.things if thing.place == self.place])
        thing.place, thing.holder = None, who
        self.noticed(thing)
        self.say(".")
        self._glad(who, thing)

    def _glad(self, who: Person, thing: Thing) -> None:
        if thing is self.goal and who is self.people[0]:
            self.say(f" At last {who.name} had what {who.subject} wanted.")
            self.goal = None

    def _look(self, who: Person) -> None:
        self.among([thing for thing in self.things if thing.place == self.place])
        self.say(" for a ")
        self.word((("while", 3), ("moment", 2), ("long time", 1)))
        self.say(".")

    def _put(self, who: Person) -> None:
        thing = self.among([thing for thing in self.things if thing.holder is who])
        thing.place, thing.holder = self.place, None
        self.noticed(thing)
        self.say(" ")
        self.word(words.SPOTS)
        self.say(".")

    def _hide(self, who: Person) -> None:
        """Only the person who hides a thing knows where it is."""
        thing = self.among([thing for thing in self.things if thing.holder is who])
        thing.place, thing.holder = self.place, None
        who.knows[thing] = self.place
        self.say(f" {at(self.place)}, where nobody saw {thing.it}.")

    def _give(self, who: Person) -> Person:
        thing = self.among([thing for thing in self.things if thing.holder is who])
        self.say(" to ")
        other = self.whom([person for person in self.people if person is not who])
        thing.holder = other
        self.say(". ")
        self.pick((f'"Thank you," said {other.name}.', 3, None), (f"{other.name} was very glad.", 2, None),
                  (f"{other.name} thanked {who.object}.", 2, None))
        self._glad(other, thing)
        return other

    def _search(self, who: Person) -> None:
        """A thing that nobody has seen can be anywhere. Whether it is here is a choice that the text shows."""
        assert self.goal is not None
        self.say(f"{self.goal.named} ")
        self.word(words.SPOTS)
        if self.pick((f", but {self.goal.they} {self.goal.was} not there.", 3, False), (f", and there {self.goal.they} "
                                                                                       f"{self.goal.was}!", 1, True)):
            self.goal.place = self.place
            self.noticed(self.goal)

    def _buy(self, who: Person) -> None:
        who.count = self.number(2, 20)
        self.fruit = self.fruit or self.word(words.FRUIT) + "!"
        if self.fruit.endswith("!"):  # chosen just now, and so written already
            self.fruit = self.fruit[:-1]
        else:
            self.say(self.fruit)
        self.say(".")

    def _more(self, who: Person) -> None:
        more = self.number(1, 12)
        who.count += more
        self.say(f"more {self.fruit}, so now {who.subject} had {who.count}.")

    def _eat(self, who: Person) -> None:
        eaten = self.number(1, min(who.count, 9))
        who.count -= eaten
        left = "none were" if not who.count else "one was" if who.count == 1 else f"{who.count} were"
        self.say(f"of the {self.fruit}, and {left} left.")

    def _share(self, who: Person) -> None:
        given = self.number(1, min(who.count, 9))
        self.say(f"of the {self.fruit} with ")
        other = self.whom([person for person in self.people if person is not who])
        who.count, other.count = who.count - given, other.count + given
        self.say(f", so {who.name} had {who.count or 'none'} and {other.name} had {other.count}.")

    def _tell_place(self, who: Person) -> None:
        """The speaker says where he or she believes a thing to be. The listener believes it too."""
        other = self.whom([person for person in self.people if any(thing not in person.knows for thing in self.news(who))])
        self.say(" that ")
        thing = self.among([thing for thing in self.news(who) if thing not in other.knows])
        other.knows[thing] = who.knows[thing]
        self.say(f" {thing.was} {at(who.knows[thing])}.")

    def _smile(self, who: Person) -> None:
        self.whom([person for person in self.people if person is not who])
        self.say(".")

    def _count(self, who: Person) -> None:
        first = self.number(2, 80)
        kind = self.word(words.ANIMALS)
        if self.pick((".", 1, False), (" and ", 1, True)):
            second = self.number(2, 80)
            self.word([(word, weight) for word, weight in words.ANIMALS if word != kind])
            self.say(f", {first + second} in all.")

    def _dream(self, who: Person) -> None:
        self._imagined()
        while self.pick((".", 2, False), (", ", 3, True)):
            self._imagined()

    def _imagined(self) -> None:
        _, plural = self.look()
        self.word(words.PAIRS if plural else words.THINGS)

    def _write(self, who: Person) -> None:
        self._stranger()
        self.say(", the ")
        self.word(words.TRAITS)
        self.say(" ")
        self.word(words.ROLES)
        self.say(", about ")
        self._imagined()
        self.say(".")

    def _stranger(self) -> None:
        """Name a person outside the story, by first name and surname."""
        self.word([*words.SHE, *words.HE])
        self.say(" ")
        self.word(words.SURNAMES)

    def _hear(self, who: Person) -> None:
        self._stranger()
        self.say(" had ")
        self.word(words.DEEDS)
        self.say(" ")
        self._imagined()
        self.say(" ")
        self.pick(*((at(place), weight, None) for place, weight in words.PLACES))
        self.say(".")

    def _sing(self, who: Person) -> None:
        self.word(words.TUNES)
        self.say(".")

    def _feel(self, who: Person) -> None:
        """A person who holds things is mostly in a good mood."""
        well = 4.0 if any(thing.holder is who for thing in self.things) or who.count else 0.5
        self.word([(word, well * weight) for word, weight in words.GOOD] + [(word, weight) for word, weight in words.BAD])
        self.say(".")
