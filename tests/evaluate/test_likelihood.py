"""Likelihoods are those of each text read alone, however many are read at once and whatever they share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import small_model

from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.evaluate import native
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.windows import after, cut
from stlm.model.checks import ODD
from stlm.model.small import Bytes
from stlm.text.tokenizer import bpe

CELL = ("whitespace", "mean", "conv", "tied")
QUESTION = "Which of these melts when it is left in the sun on a warm day in summer? Answer:"
PAIRS = [
    ("", " It rains."), ("", " It rained, and the cat sat."), (QUESTION, " ice"), (QUESTION, " a stone"), (QUESTION, " iron"),
    ("ab", "c"), ("ab", "c"), ("ab", ""), ("", ""), (QUESTION, " A"), (QUESTION, " B"), (QUESTION + " naïve 超小", " 🎉 ok"),
    (QUESTION + " naïve 超小", " no"), ("The end", ". " * 30),
]


def alone(model, tokenizer, context, text):
    """The definition: one text, all at once, in float64."""
    before = tokenizer.encode(context.encode()).tolist()
    whole = tokenizer.encode((context + text).encode()).tolist()
    first = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), min(len(before), len(whole)))
    tokens = torch.tensor([tokenizer.bos, *whole])
    with torch.no_grad():
        scores = model(Inputs(tokens[None, :-1])).logits[0] if len(whole) else torch.zeros(0, tokenizer.vocab_size)
    own = scores.log_softmax(-1).gather(1, tokens[1:, None])[first:, 0]
    return float(own.sum()), bool((scores.argmax(-1) == tokens[1:])[first:].all())


def check(scorer, model, tokenizer, pairs=PAIRS):
    seen = []
    found = scorer.likelihoods(pairs, seen.append)
    assert sum(seen) == len(pairs)
    for pair, one in zip(pairs, found, strict=True):
        log_p, greedy = alone(model, tokenizer, *pair)
        assert one.log_p == pytest.approx(log_p, rel=1e-9, abs=1e-9), pair
        assert one.greedy == greedy


def sizes_read(scorer, monkeypatch):
    """How many tokens the scorer reads at once from now on, one time after the other."""
    read, whole = list[int](), scorer._read
    monkeypatch.setattr(scorer, "_read", lambda rows, *rest: read.append(rows.numel()) or whole(rows, *rest))
    return read


def test_likelihoods_are_those_of_each_text_alone(cell, monkeypatch):
    monkeypatch.setattr(native, "SHARED", 16)
    monkeypatch.setattr(native, "TOKENS", 300)  # several batches
    tokenizer = Bytes()
    model = small_model(cell, tokenizer)
    check(NativeScorer("it", model, tokenizer, 256), model, tokenizer, PAIRS[::2])


@pytest.mark.parametrize("shared", [1, 10_000], ids=["all that can be shared", "nothing shared"])
def test_sharing_changes_nothing(monkeypatch, shared):
    monkeypatch.setattr(native, "SHARED", shared)
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    check(NativeScorer("it", model, tokenizer, 256), model, tokenizer)


def test_questions_under_one_heading_share_it_with_their_own_choices_only(monkeypatch):
    """A heading that hundreds of questions begin with would have every choice read whole, and all of them at once."""
    monkeypatch.setattr(native, "TOKENS", 2048)
    heading = "The following are multiple choice questions (with answers) about sums.\n\n"
    pairs = [(f"{heading}{f'What is {n} and {n} and what is it not? ' * (1 + n % 3)}{n} + {n}?\nAnswer:", f" {choice}")
             for n in range(40) for choice in "ABCD"]
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    scorer = NativeScorer("it", model, tokenizer, 512)
    read = sizes_read(scorer, monkeypatch)
    found = scorer.likelihoods(pairs)
    assert max(read) <= 2048
    assert sum(read) < 1.5 * sum(len(context) for context, _ in pairs) / 4
    for pair, one in list(zip(pairs, found, strict=True))[::13]:
        assert one.log_p == pytest.approx(alone(model, tokenizer, *pair)[0], rel=1e-9)


@pytest.mark.parametrize("n", [30, 400])
def test_what_is_read_at_once_is_bounded(monkeypatch, n):
    """However many texts have a beginning in common, and whatever follows."""
    monkeypatch.setattr(native, "TOKENS", 1024)
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer, layers=1)
    scorer = NativeScorer("it", model, tokenizer, 512)
    read = sizes_read(scorer, monkeypatch)
    scorer.likelihoods([(QUESTION, f" {i}" * (1 + 7 * i % 20)) for i in range(n)])
    assert max(read) <= 1024


def test_tokens_of_several_bytes():
    tokenizer = bpe.Config(vocab_size=300).build([b"the cat sat on the mat, and the ice melts in the sun " * 30])
    model = small_model(("none", "last", "conv", "tied"), tokenizer)
    check(NativeScorer("it", model, tokenizer, 256), model, tokenizer)


def test_long_contexts_lose_their_beginning():
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    scorer = NativeScorer("it", model, tokenizer, 32)
    long = scorer.likelihoods([("x" * 500 + "the cat sat", " down")])[0]
    kept = ("x" * 500 + "the cat sat down")[-31:].removesuffix(" down")
    assert long.log_p == pytest.approx(alone(model, tokenizer, kept, " down")[0], rel=1e-9)
    assert long.cut and not scorer.likelihoods([("the cat sat", " down")])[0].cut


def test_equal_scores_are_ties_and_not_greedy():
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    torch.nn.init.zeros_(model.norm.gain)
    found = NativeScorer("it", model, tokenizer, 64).likelihoods(PAIRS)
    assert all(one.tied and not one.greedy for one, (_, text) in zip(found, PAIRS, strict=True) if text)


@pytest.mark.parametrize("changes", [
    {}, {"sharing": "all"}, {"sharing": {"kind": "cycle", "loops": 2}}, {"sharing": {"kind": "all", "rank": 2}},
    {"depth": {"kind": "mixture", "every": 1}}, {"depth": "skip"}], ids=str)
@pytest.mark.parametrize("patching", ["whitespace", "none", "dynamic"])
def test_features_are_what_a_layer_finds(patching, changes):
    """Those of the same model without the layers after it."""
    tokenizer, cell = Bytes(), (patching, "last", "conv", "tied")
    model = small_model(cell, tokenizer, layers=4, seed=2, **changes)
    scorer, texts = NativeScorer("it", model, tokenizer, 64), ["The cat sat on the mat.", "naïve"]
    last = scorer.features(texts, None)
    assert np.isfinite(last).all() and last == scorer.features(texts, 4) != scorer.features(texts, 3)
    assert model.trunk.active == 4
    if changes in ({}, {"sharing": "all"}):
        short = small_model(cell, tokenizer, layers=3, **changes)
        short.load_state_dict({name: value for name, value in model.state_dict().items() if name in short.state_dict()})
        assert scorer.features(texts, 3) == NativeScorer("it", short, tokenizer, 64).features(texts, None)
    with pytest.raises(UserError, match="the layers 1 to 4"):
        scorer.features(texts, 5)


@given(data=st.data(), limit=st.integers(3, 40))
def test_windows_score_every_token_once(data, limit):
    n = data.draw(st.integers(0, 200))
    first = data.draw(st.integers(0, n))
    tokens = np.arange(1, n + 1)
    windows = cut(tokens, first, [0], limit, 7)
    scored = [int(s) for w in windows for s in w.tokens[w.first:]]
    assert scored == tokens[first:].tolist()
    for window in windows:
        assert len(window) <= limit and window.tokens[0] == 0 and window.first >= 1 and window.text == 7
        seen = window.tokens[1:].tolist()
        assert seen == list(range(seen[0], seen[0] + len(seen))) if seen else True
        assert window.first - 1 >= min(int(seen[0] + window.first - 2) if seen else 0, (limit - 1) // 2)


def test_a_token_that_the_context_changes_is_scored():
    whole, context = np.array([5, 6, 9]), np.array([5, 6, 7])
    assert after(context, whole, [0], 10, 0)[0].tokens[after(context, whole, [0], 10, 0)[0].first:].tolist() == [9]


@pytest.mark.parametrize("name", ODD)
def test_documents(name):
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    text = ODD[name][:300]
    whole = NativeScorer("it", model, tokenizer, 400).log_p_of_documents([text, b"another", text])
    with torch.no_grad():
        tokens = torch.tensor([[tokenizer.bos, *text]])
        scores = model(Inputs(tokens[:, :-1])).logits.log_softmax(-1) if text else None
    wanted = float(scores.gather(2, tokens[:, 1:, None]).sum()) if text else 0.0
    assert whole[0] == pytest.approx(wanted, rel=1e-9) and whole[2] == pytest.approx(wanted, rel=1e-9)
    short = NativeScorer("it", model, tokenizer, 16).log_p_of_documents([text])
    assert math.isfinite(short[0]) and (not text or short[0] < 0)


def test_features_and_writing():
    tokenizer = Bytes()
    model = small_model(CELL, tokenizer)
    scorer = NativeScorer("it", model, tokenizer, 64)
    first, last, default = (scorer.features(["The cat sat.", "No"], layer) for layer in (1, 2, None))
    assert np.shape(first) == (2, 16) and np.isfinite(first).all()
    assert last == default and first != last
    with pytest.raises(UserError, match="layers 1 to 2"):
        scorer.features(["x"], 3)
    assert all(len(text.encode()) <= 9 for text in scorer.write(["The ", "It"], 9, [], 1.0))
    assert "e" not in "".join(scorer.write(["The "] * 3, 50, ["e"], 1.0))
