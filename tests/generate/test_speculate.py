"""Drafting changes nothing in what is written."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import small_model

from stlm.errors import UserError
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import SelfSpeculator, write_speculating
from stlm.generate.writer import write
from stlm.model.small import Bytes
from stlm.text.tokenizer import bpe, subword

CELLS = [("none", "last", "conv", "tied"), ("whitespace", "mean", "conv", "tied"),
         ("stride", "attention", "attention", "untied"), ("subword", "last", "linear", "untied", "recall", "pointer"),
         ("none", "last", "conv", "tied", "ngrams", "pointer", "linear"),
         ("whitespace", "last", "conv", "tied", "recall", "pointer", "conv"),
         ("stride", "mean", "conv", "parallel", "ngrams", "none", "attention")]


def alike(model, tokenizer, prompt, n, how, seed, **more):
    plain = b"".join(write(model, tokenizer, prompt, n, how, seed))
    assert b"".join(write_speculating(model, tokenizer, prompt, n, how, seed, **more)) == plain
    return plain


@pytest.mark.parametrize("temperature", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_the_same_text(cell, temperature):
    tokenizer = Bytes()
    model = small_model(cell, tokenizer, layers=4)
    for seed, drafts, layer in ((0, 2, None), (1, 7, 3)):
        alike(model, tokenizer, "Once, naïve ".encode(), 20, Sampling(temperature), seed, drafts=drafts, layer=layer)
    alike(model, tokenizer, b"", 20, Sampling(temperature), 0, drafts=4)


@pytest.mark.parametrize("changes", [
    {"depth": {"kind": "early_exit", "dropout": 0.2}}, {"sharing": {"kind": "cycle", "loops": 2}},
    {"sharing": {"kind": "all", "rank": 2, "own_norms": True, "loop_from": 0.5}},
    {"sharing": {"kind": "ffn", "own_scales": True}}])
@pytest.mark.parametrize("patching", [
    "whitespace", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("none", "entropy"))])
def test_models_that_share_or_exit_early(patching, changes):
    tokenizer = Bytes()
    model = small_model((patching, "last", "conv", "tied", "recall", "pointer"), tokenizer, layers=4, **changes)
    for layer in (1, 3):
        alike(model, tokenizer, b"It rained ", 20, Sampling(1.0), 0, drafts=3, layer=layer)
    if "loop_from" in changes.get("sharing", {}):
        model.set_progress(0.1)
        with pytest.raises(UserError, match="two layers"):
            SelfSpeculator(model, None)


def test_loops_write_only_after_loop_from():
    tokenizer = Bytes()
    model = small_model(CELLS[1], tokenizer, layers=4, sharing={"kind": "cycle", "loops": 2, "loop_from": 0.5})
    model.set_progress(0.1)
    alike(model, tokenizer, b"It rained ", 30, Sampling(1.0), 0, drafts=3)


def test_in_single_precision():
    """There, rounding may tip a draw, but seldom."""
    tokenizer = Bytes()
    model = small_model(CELLS[1], tokenizer, layers=4).float()
    ways = [[b"".join(way(model, tokenizer, b"The", 40, Sampling(1.0), seed)) for seed in range(6)]
            for way in (write, write_speculating)]
    assert sum(a == b for a, b in zip(*ways, strict=True)) >= 5


@pytest.mark.parametrize("kind", [bpe.Config(vocab_size=300), subword.Config(vocab_size=300)])
def test_other_tokenizers(kind):
    tokenizer = kind.build([b"the cat sat on the mat, and the dog lay by the door " * 20])
    model = small_model(("none", "last", "conv", "tied"), tokenizer, layers=3)
    alike(model, tokenizer, b"the cat", 40, Sampling(1.0), 0)


def test_a_long_prompt(monkeypatch):
    from stlm.generate import speculate
    tokenizer = Bytes()
    model = small_model(CELLS[1], tokenizer, layers=3)
    whole = alike(model, tokenizer, b"It rained on and on. " * 9, 20, Sampling(1.0), 0)
    monkeypatch.setattr(speculate, "CHUNK", 7)
    assert alike(model, tokenizer, b"It rained on and on. " * 9, 20, Sampling(1.0), 0) == whole


def test_good_drafts_are_kept(monkeypatch):
    """Where the layers after the first add nothing, every draft is right, and the whole model is asked once for all of it."""
    tokenizer = Bytes()
    model = small_model(CELLS[0], tokenizer, layers=4)
    for block in list(model.trunk.blocks)[1:]:
        torch.nn.init.zeros_(block.attention.out.weight)
        torch.nn.init.zeros_(block.ffn.down.weight)
    asked = []
    plain = SelfSpeculator.verify
    monkeypatch.setattr(SelfSpeculator, "verify", lambda self: (asked.append(1), plain(self))[1])
    text = alike(model, tokenizer, b"The", 40, Sampling(1.0), 0, drafts=8, layer=1)
    assert len(asked) <= len(text) // 8 + 6  # those at the end of a text, or where few bytes are left, are short


def test_what_cannot_be_drafted():
    for cell, changes, layer, message in (
            (("dynamic", "mean", "conv", "tied"), {}, None, "how sure"),
            (CELLS[0], {"layers": 1}, None, "two layers"), (CELLS[0], {"layers": 3}, 3, "between 1 and 2"),
            (CELLS[0], {"depth": {"kind": "skip"}}, None, "can't be cut in two"),
            (CELLS[0], {"depth": {"kind": "early_exit", "exit_threshold": 0.5}}, None, "can't be cut in two")):
        model = small_model(cell, Bytes(), **changes)
        with pytest.raises(UserError, match=message):
            next(write_speculating(model, Bytes(), b"The", 9, Sampling(1.0), layer=layer))
