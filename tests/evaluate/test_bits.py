"""Bits per byte are honest: every byte counts once, whatever the windows, and specials never do."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import shard_of, small_model

from stlm.config.slot import kinds
from stlm.data.batch import Inputs
from stlm.evaluate.bits import score
from stlm.evaluate.compressors import baselines
from stlm.model.checks import ODD
from stlm.model.patching import PatchingConfig
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer.bytes import ByteTokenizer

TOKENIZER = ByteTokenizer()
CELL = ("whitespace", "mean", "conv", "tied")
TEXTS = [text[:200] for text in ODD.values() if text] + [b"plain words here, and \xef\xbf\xbd too"]


def plain_bits(model, tokenizer, documents):
    """The definition: each document alone, from its opening token, all at once."""
    bits = 0.0
    for document in documents:
        tokens = torch.tensor([[tokenizer.bos, *tokenizer.encode(document).tolist()]])
        with torch.no_grad():
            scores = model(Inputs(tokens[:, :-1])).logits.log_softmax(-1)
        bits -= float(scores.gather(2, tokens[:, 1:, None]).sum()) / math.log(2)
    return bits


def test_scored_bytes_are_the_bytes_of_the_text(cell):
    model = small_model(cell)
    assert score(model, shard_of(TEXTS), TOKENIZER, 32, 40, 5).n_bytes == sum(map(len, TEXTS))


@pytest.mark.parametrize("patching", kinds(PatchingConfig))
@pytest.mark.parametrize("context", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 15))])
def test_windows_may_overlap(patching, context):
    model = small_model((patching, "last", "conv", "tied"), layers=1)
    assert score(model, shard_of(TEXTS), TOKENIZER, 16, 7, context).n_bytes == sum(map(len, TEXTS))


def test_windows_that_hold_everything_give_the_definition(cell):
    model = small_model(cell)
    documents = [b"one short text.", b"x", b"and another one, longer"]
    result = score(model, shard_of(documents), TOKENIZER, seq_len=64, batch_size=2)
    assert result.bits == pytest.approx(plain_bits(model, TOKENIZER, documents), rel=1e-9)
    assert result.bits_per_byte == result.bits / sum(map(len, documents))


def test_bpe_is_counted_in_bytes():
    documents = [b"the cat sat on the mat " * 4, "naïve � sign".encode()]
    tokenizer = bpe.Config(vocab_size=280).build(documents)
    model = small_model(("none", "last", "conv", "tied"), tokenizer)
    result = score(model, shard_of(documents, tokenizer), tokenizer, seq_len=128, batch_size=2)
    assert result.n_bytes == sum(map(len, documents))
    assert result.bits == pytest.approx(plain_bits(model, tokenizer, documents), rel=1e-9)


@given(seq=st.integers(2, 40), context=st.integers(0, 39), rows=st.integers(1, 5))
def test_no_window_drops_a_target(seq, context, rows):
    documents = [b"some words", b"a", b"more, and more words than that"]
    model = small_model(CELL, layers=1)
    if context < seq:
        assert score(model, shard_of(documents), TOKENIZER, seq, rows, context).n_bytes == sum(map(len, documents))


def test_a_uniform_model_costs_the_logarithm_of_its_vocabulary():
    model = small_model(("none", "last", "conv", "untied"))
    torch.nn.init.zeros_(model.head.table.weight)
    result = score(model, shard_of(TEXTS), TOKENIZER, 64, 4)
    assert result.bits_per_byte == pytest.approx(math.log2(258), rel=1e-12)


def test_a_dropped_target_is_noticed(monkeypatch):
    from stlm.data.stream import Stream
    whole = Stream._rows

    def careless(self, numbers):
        tokens, counted = whole(self, numbers)
        counted[:, -1] = False
        return tokens, counted
    monkeypatch.setattr(Stream, "_rows", careless)
    assert score(small_model(CELL), shard_of(TEXTS), TOKENIZER, 16, 3).n_bytes != sum(map(len, TEXTS))


def test_more_context_is_what_windows_see():
    with pytest.raises(ValueError, match="context"):
        score(small_model(CELL), shard_of(TEXTS), TOKENIZER, 16, 3, context=16)


def test_limit_scores_a_part():
    result = score(small_model(CELL), shard_of([b"word " * 500]), TOKENIZER, 16, 2, limit=100)
    assert 100 <= result.n_bytes <= 132


def test_a_compressor_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert [*baselines(b"abc " * 200)] == ["gzip -9", "xz -9e"]


def test_compressors():
    text = b" ".join(b"%d bottles" % (i * i) for i in range(5000))
    figures = baselines(text)
    assert 0 < figures["xz -9e"] < figures["gzip -9"] < 8
