"""Scores: what copies add, and that the short way to a target's surprisal is the long one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.model import scores
from stlm.model.scores import Copies, Scores

pytestmark = pytest.mark.shapes


def test_odds_add_and_have_the_right_gradients():
    logits = torch.randn(5, dtype=torch.double, requires_grad=True)
    evidence = torch.randn(4, dtype=torch.double, requires_grad=True)
    to = torch.tensor([1, 3, 1, 0])
    found = scores.AddOdds.apply(logits, evidence, to)
    odds = logits.exp() + torch.zeros(5, dtype=torch.double).scatter_add(0, to, evidence.exp())
    torch.testing.assert_close(found, odds.log())
    assert torch.autograd.gradcheck(lambda a, b: scores.AddOdds.apply(a, b, to), (logits, evidence))


@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=20), seed=st.integers(0, 99),
       piece=st.sampled_from([1, 14, 20, 1000]), scale=st.sampled_from([0.1, 3.0, 30.0]))
def test_surprisal_is_that_of_all_logits_and_so_are_its_gradients(pairs, seed, piece, scale):
    torch.manual_seed(seed)
    raw, evidence = (scale * torch.randn(*shape, dtype=torch.double) for shape in ((2, 3, 7), (len(pairs),)))
    raw.requires_grad_(), evidence.requires_grad_()
    targets, weights = torch.randint(7, (2, 3)), torch.rand(2, 3, dtype=torch.double)
    place, token = (torch.tensor(column, dtype=torch.long) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    both = Scores(raw, Copies(place, token, evidence))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "PIECE", piece)
        short = both.surprisal(targets)
        found = torch.autograd.grad((short * weights).sum(), (raw, evidence))
    long = -both.logits().log_softmax(-1).gather(2, targets[..., None])[..., 0]
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(found, torch.autograd.grad((long * weights).sum(), (raw, evidence)))


def test_in_half_precision_gradients_are_rounded_once():
    """A target that is all but certain keeps the gradient of its doubt: p - 1 is taken before rounding."""
    raw = torch.tensor([[[9.0, 0.0, 1.0]]], dtype=torch.bfloat16, requires_grad=True)
    Scores(raw).surprisal(torch.tensor([[0]])).sum().backward()
    exact = raw.detach().double().softmax(-1)
    exact[0, 0, 0] -= 1
    torch.testing.assert_close(raw.grad.double(), exact, rtol=2**-8, atol=0)


def test_without_copies_logits_are_the_heads():
    raw = torch.randn(1, 2, 3)
    assert Scores(raw).logits() is raw
