"""What is packed comes back, at the size that the model said, and damage is found."""

from __future__ import annotations

import pytest
from tests.conftest import small_model

from stlm.errors import UserError
from stlm.evaluate import archive
from stlm.evaluate.archive import HEAD, SUM, claimed_bits, pack, split, unpack
from stlm.evaluate.native import NativeScorer
from stlm.model.checks import ODD
from stlm.model.small import Bytes
from stlm.text.tokenizer import bpe, subword

CELL = ("whitespace", "mean", "conv", "tied")
STORY = b"The cat sat on the mat, and the dog lay by the door. Then it rained for three days.\n" * 12
FILES = {**{name: text[:600] for name, text in ODD.items()}, "text": STORY[:700],
         "scripts": "Ünïcode Ελληνικά Кириллица עברית हिन्दी 日本語".encode() * 4}


def scorer_of(cell=CELL, tokenizer=None, limit=48):
    tokenizer = tokenizer or Bytes()
    return NativeScorer("it", small_model(cell, tokenizer, layers=1).float(), tokenizer, limit)


@pytest.mark.parametrize("most", [150, pytest.param(700, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_files_come_back(name, most):
    scorer, data, shares = scorer_of(), FILES[name][:most], []
    packed = pack(scorer, data, shares.append)
    assert unpack(scorer, packed) == data
    extra = 8 * (len(packed) - HEAD.size - SUM) - claimed_bits(scorer, data)
    assert -1 < extra < 80 + 0.01 * claimed_bits(scorer, data)  # the coder ends with whole words


@pytest.mark.parametrize("cell", [("none", "last", "conv", "tied"), ("dynamic", "last", "conv", "tied", "ngrams", "pointer"),
                                  ("stride", "attention", "attention", "tied", "recall", "pointer")])
def test_other_models(cell):
    scorer = scorer_of(cell)
    assert unpack(scorer, pack(scorer, STORY[:120])) == STORY[:120]


@pytest.mark.parametrize("kind", [bpe.Config(vocab_size=300), subword.Config(vocab_size=300)])
def test_other_tokenizers(kind):
    tokenizer = kind.build([STORY])
    scorer, data = scorer_of(("none", "last", "conv", "tied"), tokenizer), STORY[:150] + bytes(range(0, 256, 7))
    assert unpack(scorer, pack(scorer, data)) == data


def test_parts_side_by_side(monkeypatch):
    monkeypatch.setattr(archive, "PART", 100)
    scorer = scorer_of()
    data = STORY[:730]
    assert [len(part) for part in split(scorer.tokenizer.encode(data))] == [105, 105, 104, 104, 104, 104, 104]
    packed = pack(scorer, data)
    assert unpack(scorer, packed) == data
    assert 8 * (len(packed) - HEAD.size - SUM) == pytest.approx(claimed_bits(scorer, data), rel=0.01, abs=64)


@pytest.mark.slow
def test_a_long_file_costs_what_was_claimed(monkeypatch):
    """In two parts, to within a hundredth, all told."""
    monkeypatch.setattr(archive, "PART", 6_000)
    scorer, data = scorer_of(limit=512), (STORY * 20)[:12_000]
    packed = pack(scorer, data)
    assert unpack(scorer, packed) == data
    assert 8 * len(packed) == pytest.approx(claimed_bits(scorer, data), rel=0.01)


def test_damage_is_found():
    scorer = scorer_of()
    packed = pack(scorer, STORY[:200])
    for place in (0, 9, 20, HEAD.size + 3, len(packed) - 1):
        damaged = bytearray(packed)
        damaged[place] ^= 1
        with pytest.raises(UserError, match=r"damaged|wasn't written by"):
            unpack(scorer, bytes(damaged))
    for short in (packed[:-3], packed[:10], b"", b"something else altogether, and long enough to be taken for a whole file"):
        with pytest.raises(UserError):
            unpack(scorer, short)


def test_another_model_is_refused():
    packed = pack(scorer_of(), STORY[:100])
    with pytest.raises(UserError, match="another model"):
        unpack(scorer_of(limit=64), packed)
    other = NativeScorer("it", small_model(CELL, Bytes(), seed=5, layers=1).float(), Bytes(), 48)
    with pytest.raises(UserError, match="another model"):
        unpack(other, packed)


def test_a_machine_that_computes_otherwise_is_told(monkeypatch):
    scorer = scorer_of()
    packed = pack(scorer, STORY[:200])
    plain = archive._Lockstep.probabilities
    monkeypatch.setattr(archive._Lockstep, "probabilities", lambda self: plain(self) ** 1.01)
    with pytest.raises(UserError, match="computes other numbers"):
        unpack(scorer, packed)
