"""How much is held out: the usual share of long texts, more of short ones, and the same wherever the text is long enough."""

from __future__ import annotations

import pytest
from tests.data.test_sources import fill, jsonl

from stlm.data.concat import open_sources
from stlm.data.sources import open_source
from stlm.data.splits import _hash_of

WORDS = [f"{n:06} some words of a story that goes on and on until it ends somewhere.\n" for n in range(20_000)]


def sizes(spec: object, held_out: int) -> tuple[int, int]:
    source = open_sources(str(spec), held_out=held_out)
    train, validation = (sum(map(len, source.documents(split))) for split in ("train", "validation"))
    return train, validation


@pytest.mark.parametrize(("total", "held_out", "expected", "more"), [
    (100_000, 1000, 10_000, False), (100_000, 10_000, 10_000, False), (100_000, 10_001, 10_001, True),
    (100_000, 20_480, 20_480, True), (30_000, 20_480, 15_000, True), (1000, 20_480, 500, True),
    (9_000, 1000, 1000, True), (12_000_000, 20_480, 1_000_000, False)])
def test_a_single_text(tmp_path, total, held_out, expected, more):
    fill(tmp_path, {"a.txt": b"x" * total})
    assert sizes(tmp_path, held_out) == (total - expected, expected)
    source = open_source(str(tmp_path / "a.txt"), held_out=held_out)
    assert source.holds_more == more


def test_of_many_documents_further_hashes_are_held_out_until_there_are_enough(tmp_path):
    texts = WORDS[:3000]
    fill(tmp_path, {"a.jsonl": jsonl(texts)})
    before, usual = set(), [text.encode() for text in texts if not _hash_of(text.encode())]
    assert 1000 < sum(map(len, usual)) < 5000
    for held_out in (1000, 5000, 20_000, 80_000):
        source = open_source(str(tmp_path), held_out=held_out)
        train, validation = (list(source.documents(split)) for split in ("train", "validation"))
        assert before <= set(validation) and not set(train) & set(validation) and len(train) + len(validation) == 3000
        assert held_out <= sum(map(len, validation)) < held_out + 5000 and source.holds_more == (held_out > 1000)
        before = set(validation)
        if held_out == 1000:
            assert validation == usual


@pytest.mark.parametrize("texts", [WORDS[:60], ["Twice the same, and again." * 9] * 200, [*WORDS[:70], "y" * 50_000]])
def test_where_whole_documents_cannot_do_it_the_end_is_held_out(tmp_path, texts):
    fill(tmp_path, {"a.jsonl": jsonl(texts)})
    total = sum(map(len, texts))
    assert sizes(tmp_path, total) == (total - total // 2, total // 2)


def test_what_is_held_out_is_part_of_what_a_text_is_known_by_and_only_where_it_differs(tmp_path):
    def mark(name: str, held_out: int) -> str:
        return open_source(str(tmp_path / name), held_out=held_out).fingerprint()

    fill(tmp_path, {"long.txt": b"x" * 400_000, "many.jsonl": jsonl(WORDS),
                    "short.txt": b"x" * 30_000, "few.jsonl": jsonl(WORDS[:400])})
    for name in ("long.txt", "many.jsonl"):
        assert mark(name, 1000) == mark(name, 2560) == mark(name, 10_240)
    assert mark("long.txt", 40_001) != mark("long.txt", 1000)
    for name in ("short.txt", "few.jsonl"):
        assert len({mark(name, held_out) for held_out in (100, 4000, 8000)}) == 3
        assert mark(name, 40_000) == mark(name, 80_000)  # half of it is the most


def test_several_texts_hold_out_their_parts(tmp_path):
    fill(tmp_path, {"a.txt": b"x" * 40_000, "b.txt": b"y" * 40_000, "c.txt": b"z" * 400_000})
    assert sizes(f"{tmp_path}/a.txt,{tmp_path}/b.txt", 20_480) == (80_000 - 20_480, 20_480)
    source = open_sources(f"{tmp_path}/a.txt,{tmp_path}/c.txt", held_out=20_480)
    assert source.holds_more and sum(map(len, source.documents("validation"))) == 10_240 + 40_000
    assert not open_sources(f"{tmp_path}/c.txt,{tmp_path}/c.txt", held_out=20_480).holds_more


def test_given_splits_stay_however_small(tmp_path):
    fill(tmp_path, {"train.txt": b"x" * 2000, "validation.txt": b"y" * 20})
    assert sizes(tmp_path, 20_480) == (2000, 20) and not open_source(str(tmp_path)).holds_more
