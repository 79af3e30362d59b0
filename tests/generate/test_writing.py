"""Writing: the cache changes nothing, text is valid UTF-8, and draws are as asked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import small_model

from stlm.data.batch import Inputs
from stlm.generate import session, utf8
from stlm.generate.constraint import DecodingConstraint
from stlm.generate.sampling import Sampling, draw
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import characters, write
from stlm.model.checks import ODD
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer.bytes import ByteTokenizer

TOKENIZER = ByteTokenizer()
CELL = ("whitespace", "mean", "conv", "tied")
ALL = torch.ones(4, dtype=torch.bool)


def text_of(model, prompt, n, how=None, seed=0, tokenizer=TOKENIZER):
    return b"".join(write(model, tokenizer, prompt, n, how or Sampling(1.0), seed))


@torch.no_grad()
def plain_text_of(model, prompt, n, how):
    """The definition: everything is computed anew for each token."""
    generator, tokens, out = torch.Generator().manual_seed(0), [TOKENIZER.bos, *prompt], b""
    constraint = DecodingConstraint.after_prompt(TOKENIZER, prompt, tokens, n)
    while constraint.allowed().any():
        token = draw(model(Inputs(torch.tensor([tokens]))).logits[0, -1], constraint.allowed(), how, generator)
        if token == TOKENIZER.bos:
            break
        out, constraint, tokens = out + TOKENIZER.token_bytes[token], constraint.after(token), [*tokens, token]
    return out


@pytest.mark.parametrize(("prompt", "temperature"), [
    ("Once naïve 超".encode(), 1.0), pytest.param(b"", 0.0, marks=pytest.mark.slow)])
def test_the_cache_gives_what_full_computation_gives(cell, prompt, temperature):
    model, how = small_model(cell, seed=1), Sampling(temperature)
    assert text_of(model, prompt, 18, how) == plain_text_of(model, prompt, 18, how)


def test_a_long_prompt_is_read_in_pieces(monkeypatch):
    model = small_model(("whitespace", "mean", "conv", "tied", "recall", "pointer"), seed=1).float()
    prompt = b"It rained, and the rain fell on and on, and on. " * 3
    whole = text_of(model, prompt, 40)
    for piece in (1, 7, len(prompt), len(prompt) + 1):
        monkeypatch.setattr(session, "CHUNK", piece)
        assert text_of(model, prompt, 40) == whole


@pytest.mark.parametrize("name", ODD)
def test_odd_prompts(name):
    text = text_of(small_model(CELL), ODD[name], 20)
    assert len(text) <= 20


@given(seed=st.integers(0, 1000), n=st.integers(1, 40))
def test_text_is_valid_utf8(seed, n):
    model = small_model(CELL, layers=1)
    text = text_of(model, b"", n, Sampling(2.0), seed)
    text.decode("utf-8")
    assert len(text) <= n


@given(text=st.text(min_size=1, max_size=6), cut=st.integers(1, 3), seed=st.integers(0, 20))
def test_a_prompt_that_ends_inside_a_character_is_completed(text, cut, seed):
    data = text.encode("utf-8", errors="surrogatepass")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    prompt = data[:len(data) - cut]
    written = text_of(small_model(CELL, layers=1), prompt, 12, Sampling(2.0), seed)
    (prompt + written).decode("utf-8")


def test_bpe_text_is_valid_utf8():
    tokenizer = bpe.Config(vocab_size=300).build(["naïve 超小型 çà et là ".encode() * 20])
    model = small_model(("none", "last", "conv", "tied"), tokenizer)
    for seed in range(10):
        text_of(model, b"", 30, Sampling(3.0), seed, tokenizer=tokenizer).decode("utf-8")


def test_characters_come_whole():
    data = "aé超🎉z".encode()
    shown = list(characters(bytes([byte]) for byte in data))
    assert shown == ["a", "é", "超", "🎉", "z"]


@given(data=st.binary(max_size=8))
def test_the_automaton_agrees_with_the_decoder(data):
    try:
        data.decode("utf-8")
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert (utf8.run(utf8.START, data) == utf8.START) == valid


def test_the_automaton_on_every_character():
    for start in range(0, 0x110000, 97):
        if not 0xD800 <= start <= 0xDFFF:
            assert utf8.run(utf8.START, chr(start).encode()) == utf8.START


def test_same_seed_same_text_other_seed_other_text():
    model = small_model(CELL)
    assert text_of(model, b"a", 40, seed=3) == text_of(model, b"a", 40, seed=3)
    assert text_of(model, b"a", 40, seed=3) != text_of(model, b"a", 40, seed=4)


def test_draws_follow_the_distribution():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.tensor([draw(logits, ALL, Sampling(1.0), generator) for _ in range(4000)]), minlength=4)
    torch.testing.assert_close(counts / 4000, logits.exp(), rtol=0, atol=0.03)


def test_models_that_differ_little_draw_alike():
    """(1 - d) / (1 + d) of the time at least, where d is the total variation between them (Daliri et al. 2024, section 2)."""
    scores = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).cumsum(0)
    p = torch.stack([scores[0], scores.mean(0)]).softmax(-1)
    d = (p[0] - p[1]).abs().sum().item() / 2
    draws = [[draw(row.log(), torch.ones(50, dtype=torch.bool), Sampling(1.0), torch.Generator().manual_seed(seed))
              for row in p] for seed in range(2000)]
    assert 0.1 < d < 0.5
    assert sum(a == b for a, b in draws) / 2000 > (1 - d) / (1 + d)


@pytest.mark.parametrize(("how", "possible"), [
    (Sampling(0.0), {0}), (Sampling(1.0, top_p=0.5), {0}), (Sampling(1.0, top_p=0.51), {0, 1}),
    (Sampling(1.0, min_p=0.25), {0, 1, 2}), (Sampling(1.0, min_p=1.0), {0}), (Sampling(1.0, top_p=1e-9), {0}),
])
def test_tokens_that_are_cut_off_are_never_drawn(how, possible):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    generator = torch.Generator().manual_seed(0)
    assert {draw(logits, ALL, how, generator) for _ in range(500)} == possible


def test_forbidden_tokens_are_never_drawn():
    logits, allowed = torch.zeros(4), torch.tensor([False, True, False, True])
    generator = torch.Generator().manual_seed(0)
    assert {draw(logits, allowed, Sampling(1.0), generator) for _ in range(200)} == {1, 3}


@pytest.mark.parametrize("fault", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}])
def test_impossible_settings(fault):
    with pytest.raises(ValueError, match="has to"):
        Sampling(**fault)


@pytest.mark.parametrize("prompt", [b"caf\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xe0", b"\xf4\x8f", b"a \xed\x9f"], ids=repr)
@pytest.mark.parametrize("writer", [write, write_speculating])
def test_writing_goes_on_from_half_a_character(prompt, writer):
    pieces = list(writer(small_model(CELL), TOKENIZER, prompt, 12, Sampling(1.0), 3))
    whole, shown = (prompt + b"".join(pieces)).decode(), "".join(characters(iter(pieces), prompt))
    assert "\ufffd" not in whole
    assert shown == whole.removeprefix(prompt.decode(errors="ignore"))  # the first character is shown whole


@pytest.mark.parametrize(("data", "tail"), [(b"caf\xc3", b"\xc3"), (b"\xc3\xa9", b""), (b"\xe2\x82", b"\xe2\x82"),
                                            (b"", b""), (b"\xa9", b""), (b"\xe0\x80", b""),
                                            (b"x\xf0\x9f\x98", b"\xf0\x9f\x98"), (b"\xff", b"")])
def test_the_unfinished_end_of_a_text(data, tail):
    assert utf8.unfinished(data) == tail


def test_a_temperature_near_zero_takes_the_likeliest():
    logits = torch.tensor([1.0, 3.0, 2.0, 0.0])
    for temperature in (5e-324, 1e-300, 1e-9):
        assert draw(logits, ALL, Sampling(temperature), torch.Generator().manual_seed(0)) == 1
