"""One decoding session: many texts as each alone, forks, marks, stop strings, log-probabilities, constraints."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tests.conftest import small_model

from stlm.data.batch import Inputs
from stlm.generate import session as sessions
from stlm.generate.constraint import Constraint
from stlm.generate.sampling import Sampling
from stlm.generate.session import Session
from stlm.generate.writer import stream
from stlm.text.tokenizer.bytes import ByteTokenizer

TOKENIZER = ByteTokenizer()
PROMPTS = [b"It rained ", b"", "naïve 超".encode(), b"On and on, and on."]


def run(session: Session) -> list[bytes]:
    while not session.done:
        session.step()
    return [text.written for text in session.texts]


def begin(model, prompts, n=30, seeds=None, how=None, **more) -> Session:
    session = Session(model, TOKENIZER, how or Sampling(1.0))
    session.prefill(prompts, n, seeds, **more)
    return session


def test_several_texts_are_those_of_one_session_each(cell):
    model = small_model(cell, seed=1)
    together = begin(model, PROMPTS, seeds=[3, 4, 5, 6])
    apart = [begin(model, [prompt], seeds=[3 + place]) for place, prompt in enumerate(PROMPTS)]
    assert run(together) == [text for one in apart for text in run(one)]
    for text, one in zip(together.texts, apart, strict=True):
        assert text.log_prob == pytest.approx(one.texts[0].log_prob, abs=1e-6)


def test_log_probabilities_are_the_models():
    model = small_model(("whitespace", "mean", "conv", "tied"))
    session, steps = begin(model, [b"The "], how=Sampling(0.0)), []
    while not session.done:
        steps += [step for step in session.step() if step is not None]
    tokens = [256, *b"The ", *(step.token for step in steps)]
    log_p = model(Inputs(torch.tensor([tokens[:-1]]))).logits[0].detach().log_softmax(-1)
    expected = [float(log_p[place - 1, tokens[place]]) for place in range(5, len(tokens))]
    assert [step.log_prob for step in steps] == pytest.approx(expected)
    assert session.texts[0].log_prob == pytest.approx(sum(expected))
    assert all(math.isfinite(step.log_prob) for step in steps)


def test_a_fork_goes_on_by_itself():
    model = small_model(("whitespace", "mean", "conv", "tied", "recall", "pointer"))
    session = begin(model, PROMPTS[:2], n=40)
    for _ in range(7):
        session.step()
    fork = session.fork([1, 0, 1])
    first, second = run(session)
    assert run(fork) == [second, first, second]


def test_rewinding_forgets_what_came_since():
    model = small_model(("whitespace", "mean", "conv", "tied", "recall", "pointer"))
    session = begin(model, PROMPTS, n=25)
    for _ in range(5):
        session.step()
    mark = session.mark()
    once = run(session)
    for _ in range(2):
        session.rewind(mark)
        assert run(session) == once


def test_given_tokens_are_read_like_drawn_ones():
    model = small_model(("stride", "mean", "attention", "tied"))
    session = Session(model, TOKENIZER)
    rows = [[256, *b"one two three"], [256, *b"a"], [256, *b"four, five"]]
    session.feed([row[:3] for row in rows])
    session.feed([row[3:] for row in rows])
    expected = [model(Inputs(torch.tensor([row]))).logits[0, -1] for row in rows]
    torch.testing.assert_close(session.logits(), torch.stack(expected), rtol=1e-9, atol=1e-9)
    session.feed([[], [98], []])
    expected[1] = model(Inputs(torch.tensor([[*rows[1], 98]]))).logits[0, -1]
    torch.testing.assert_close(session.logits(), torch.stack(expected), rtol=1e-9, atol=1e-9)


def test_prompts_of_any_length_are_read_in_pieces(monkeypatch):
    model, prompts = small_model(("whitespace", "mean", "conv", "tied")), [b"It rained on and on. " * 5, b"", b"And on"]
    whole = run(begin(model, prompts))
    for chunk in (1, 7, 64):
        monkeypatch.setattr(sessions, "CHUNK", chunk)
        assert run(begin(model, prompts)) == whole


@dataclasses.dataclass(frozen=True)
class Script(Constraint):
    """Allows one text, letter by letter."""

    left: bytes

    def allowed(self):
        mask = torch.zeros(TOKENIZER.vocab_size, dtype=torch.bool)
        if self.left:
            mask[self.left[0]] = True
        return mask

    def after(self, token):
        return Script(self.left[1:])


def test_stop_strings_end_a_text_and_are_no_part_of_it():
    model = small_model(("whitespace", "mean", "conv", "tied"))
    script = b"one, two; three. four"
    for stops, expected in (([b"; "], b"one, two"), ([b"three", b", "], b"one"), ([b"five"], script), ([], script),
                            ([b"", b"four"], b"one, two; three. ")):
        session = begin(model, [b"x"], n=99, stops=stops, constraints=[Script(script)])
        shown = list(stream(session))
        assert b"".join(shown) == session.texts[0].written == expected
        for number in range(len(shown)):  # nothing is shown that is taken back
            assert expected.startswith(b"".join(shown[:number + 1]))


def test_texts_that_have_ended_take_no_room():
    """The memory holds rows for those that go on only."""
    model = small_model(("whitespace", "mean", "conv", "tied"))
    scripts = [Script(b"a" * n) for n in (2, 9, 5)]
    session = begin(model, [b"", b"x", b"yz"], constraints=scripts)
    rows, plain = [], model.forward
    model.forward = lambda batch, cache=None: (rows.append(len(batch.inputs)), plain(batch, cache))[1]
    assert run(session) == [b"aa", b"a" * 9, b"aaaaa"]
    assert rows == [3, 3, 2, 2, 2, 1, 1, 1, 1]
