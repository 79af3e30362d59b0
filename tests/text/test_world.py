"""The built-in corpus: its text carries its choices exactly, so its information is known."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stlm.text.world import WorldParseError, parse_story, write_story
from stlm.text.world.chance import Chooser, Reader, Table, Writer, table
from stlm.text.world.story import Story

N_STORIES = 2000
GOLDEN = "d1ebbd3eb86ce26e6ad7c814a12fc8bb4a6caf5f992a5e132e03ee3e227d7394"


@functools.cache
def stories() -> list[Story]:
    return [write_story(0, index) for index in range(N_STORIES)]


@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**41))
def test_reading_finds_the_choices_of_writing(seed, index):
    story = write_story(seed, index)
    assert parse_story(story.text) == story.bits


@given(index=st.integers(0, N_STORIES - 1), data=st.data())
def test_no_other_story_is_read_as_this_one(index, data):
    """A changed text is refused, or is another story with a probability of its own."""
    text = stories()[index].text
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.sampled_from("abest T.7\n")) + text[place + 1:]
    if changed != text:
        try:
            bits = parse_story(changed)
        except WorldParseError as error:
            assert "\n" not in str(error)
        else:
            assert math.isfinite(bits) and bits > 0
    for cut in (text[:place], text + "A", text[:-1]):
        with pytest.raises(WorldParseError):
            parse_story(cut)


def test_entropy_is_in_the_band_where_there_is_something_to_learn():
    size = sum(len(story.text) for story in stories())
    bits, entropy = (sum(getattr(story, name) for story in stories()) for name in ("bits", "entropy"))
    assert 0.4 < entropy / size < 0.9
    # the information of a sample agrees with the entropy of its choices, within five standard errors
    spread = math.sqrt(sum((story.bits - story.entropy) ** 2 for story in stories()))
    assert abs(bits - entropy) < 5 * spread
    assert abs(bits / entropy - 1) < 0.01


def test_stories_and_sentences_do_not_repeat():
    assert len({story.text for story in stories()}) == len(stories())
    sentences = [s for story in stories() for s in re.split(r'(?<=[.!?"]) ', story.text)]
    assert len(set(sentences)) > 20_000


def test_text_is_plain():
    for story in stories():
        assert story.text.isascii()
        assert story.text.endswith(".\n")
        assert story.text.count("\n") == 1
        assert "  " not in story.text
    assert 300 < sum(len(story.text) for story in stories()) / len(stories()) < 1500


def test_the_corpus_does_not_change_unnoticed():
    text = "".join(write_story(0, index).text for index in range(20))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN, "raise VERSION in story.py, then put the new hash here"


def test_the_same_in_every_process():
    code = "from stlm.text.world import write_story; print(write_story(3, 4).text, end='')"
    texts = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                            capture_output=True, text=True).stdout for seed in ("1", "2")}
    assert texts == {write_story(3, 4).text}


def test_tables_that_could_not_be_read_back_are_refused():
    with pytest.raises(ValueError, match="'to' is a prefix of 'tom'"):
        Table(("tom", "to", "anna"), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="above 0"):
        Table(("a", "b"), (1.0, 0.0))
    with pytest.raises(ValueError, match="needs options"):
        Table((), ())


def test_every_table_of_the_corpus_adds_up_to_one():
    made = []

    class Watching(Writer):
        def choose(self, options):
            made.append(options)
            return super().choose(options)
    from stlm.text.world.story import Teller
    for index in range(200):
        Teller(Watching(f"7/{index}")).tell()
    for options in {id(t): t for t in made}.values():
        assert math.fsum(options.probabilities) == pytest.approx(1, abs=1e-12)
        assert options.entropy <= math.log2(len(options.surfaces)) + 1e-9
        assert all(options.find(surface + " x", 0) == place for place, surface in enumerate(options.surfaces))


def toy(chooser: Chooser) -> None:
    """A small program of the same kind, with choices that depend on choices."""
    first = chooser.pick(("a", 1, 1), ("bb", 2, 2), ("bc", 4, 3))
    chooser.say("-")
    for _ in range(first):
        if chooser.pick((".", first, True), ("x", 1, False)):
            return
    chooser.say("!")


def test_all_strings_of_a_toy_grammar_are_distinct_and_add_up_to_one():
    class Branching(Exception):
        pass

    class Script(Writer):
        """Takes the options that it is told to take."""

        def __init__(self, script):
            super().__init__("")
            self.script, self.used = script, 0

        def choose(self, options):
            if self.used == len(self.script):
                raise Branching(len(options.surfaces))
            place = self.script[self.used]
            self.used += 1
            self.bits += options.bits[place]
            self._pieces.append(options.surfaces[place])
            return place
    found, waiting = Counter(), [()]
    while waiting:
        script = waiting.pop()
        writer = Script(script)
        try:
            toy(writer)
        except Branching as branch:
            waiting += [(*script, place) for place in range(branch.args[0])]
        else:
            found[writer.text] += 1
            reader = Reader(writer.text)
            toy(reader)
            reader.finish()
            assert reader.bits == writer.bits
            found.update({"total": 0})
            found.update({writer.text: 0})
            found["total"] += 2.0 ** -writer.bits
    total = found.pop("total")
    assert total == pytest.approx(1, abs=1e-12)
    assert set(found.values()) == {1}


def test_draws_follow_the_weights():
    options = table(("a", "b", "c"), (1.0, 2.0, 5.0))
    counts = Counter(options.draw((i + 0.5) / 800) for i in range(800))
    assert [counts[place] for place in range(3)] == [100, 200, 500]


def test_sums_are_right():
    text = "".join(story.text for story in stories())
    sums = re.findall(r"counted (\d+) \w+ and (\d+) \w+, (\d+) in all", text)
    assert len(sums) > 100
    assert all(int(a) + int(b) == int(c) for a, b, c in sums)
    more = re.findall(r"bought (\d+) \w+\. (?:She|He) got (\d+) more \w+, so now (?:she|he) had (\d+)\.", text)
    assert len(more) > 5
    assert all(int(a) + int(b) == int(c) for a, b, c in more)


def test_grammar_agrees():
    text = "".join(story.text for story in stories())
    assert not re.search(r"\ba [aeiou]|\ban [^aeiouh]|\ba honest", text)
    assert not re.search(r"the \w+ (shoes|gloves|boots|keys|glasses|flowers|coins) (was|is) ", text)
    for story in stories():
        hero, pronoun = re.search(r"named (\w+) was [^.]*\. (She|He) ", story.text).groups()
        from stlm.text.world.lexicon import SHE
        assert (pronoun == "She") == (hero in dict(SHE))


def test_things_are_where_they_were_put():
    """Whoever is alone and finds a thing lying at a place had been told so by the story before."""
    for story in stories()[:500]:
        for sentence in re.findall(r"There (?:was|were) (the [^.]*)\.", story.text):
            for thing in re.split(r", | and ", sentence):
                words = thing.removeprefix("the ")
                assert story.text.index(words) < story.text.index(sentence)


def test_every_kind_of_sentence_occurs():
    text = "".join(story.text for story in stories())
    for phrase in ("wanted to find", "was waiting for", "looked for", "and there it was!", "picked up", "put down", "hid ",
                   "gave ", "Thank you", "told ", " that the ", "Where ", "I do not know", "It is ", "They are ", "Let us go",
                   "shared ", "ate ", "none were left", "more ", "heavier than", "Just then", "At last", "went home",
                   "dreamed of", "heard that", "wrote to", "It began", "Look what I have"):
        assert phrase in text, phrase


def test_it_takes_a_model_to_compress_it():
    import lzma
    sample = "".join(story.text for story in stories())[:300_000].encode()
    bits = 8 * len(lzma.compress(sample, preset=9 | lzma.PRESET_EXTREME)) / len(sample)
    entropy = sum(s.bits for s in stories()) / sum(len(s.text) for s in stories())
    assert bits > 2.5 * entropy
    assert list(itertools.islice(sample, 1))
