"""Heads that predict more than the next token."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.model import checks
from stlm.model.copying import pointer
from stlm.model.head import parallel
from stlm.model.model_config import ModelConfig
from stlm.model.patching import none
from tests.conftest import small_model

pytestmark = pytest.mark.shapes

ROWS = torch.tensor([checks.tokens_of(checks.TEXT, 256)])


def test_a_patch_is_predicted_from_the_answer_alone():
    """Bytes inside a patch change nothing before the patch has ended."""
    model = small_model(("stride", "mean", "conv", "parallel"))
    changed = ROWS.clone()
    changed[0, 4] = 7  # the first of three in its patch
    moved = (checks.logits_of(model, changed) - checks.logits_of(model, ROWS)).abs().amax(dim=2)[0]
    assert (moved[:6] == 0).all() and (moved[6:] > 0).any()


@pytest.mark.parametrize(("changes", "message"), [
    ({"patching": none.Config()}, "patching = none has no patches"),
    ({"copying": pointer.Config()}, "doesn't go with copying = pointer"),
    ({"decoder_layers": 1}, "set decoder_layers = 0"),
])
def test_what_parallel_cannot_go_with(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ModelConfig(decoder_layers=0, head=parallel.Config()), **changes)


@torch.no_grad()
def test_pooling_by_attention_is_a_softmax_over_the_patch():
    from stlm.model.layout import layout
    from stlm.nn.norm import rms_norm
    model = small_model(("stride", "attention", "conv", "tied"))
    pooling, x = model.backbone.pooling, torch.randn(1, 10, 8, dtype=torch.double)
    ends = torch.tensor([[True, False, False, True, True, False, False, False, True, False]])
    got = pooling(x, layout(ends, torch.zeros(1, 10, dtype=torch.long)))
    for patch, members in enumerate(([0], [1, 2, 3], [4], [5, 6, 7, 8])):
        inside = x[0, members]
        query = rms_norm(pooling.query(inside[-1]).view(2, 4))
        key, value = pooling.key_value(inside).view(len(members), 2, 2, 4).unbind(1)
        weights = (torch.einsum("hd,nhd->hn", query, rms_norm(key)) * 4**-0.5).softmax(-1)
        expected = inside[-1] + pooling.out(torch.einsum("hn,nhd->hd", weights, value).flatten())
        torch.testing.assert_close(got[0, patch], expected)


@pytest.mark.parametrize("kind", ["tied", "untied", "late"])
def test_logits_are_capped(kind):
    plain = small_model(("whitespace", "mean", "conv", kind), head={"kind": kind})
    model = small_model(("whitespace", "mean", "conv", kind), head={"kind": kind, "softcap": 2.0})
    model.load_state_dict(plain.state_dict())
    expected = 2 * (checks.logits_of(plain, ROWS) / 2).tanh()
    torch.testing.assert_close(checks.logits_of(model, ROWS), expected)
    assert checks.logits_of(plain, ROWS).abs().max() > 2


def test_one_table_becomes_two():
    """Before the change only the input table counts and is learned; after it both are, and the second begins as a copy."""
    model = small_model(("whitespace", "mean", "conv", "late"), head={"kind": "late", "at": 0.5})
    tied = small_model(("whitespace", "mean", "conv", "tied"))
    tied.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("head.")})
    model.set_progress(0.1)
    model.set_progress(0.2)
    assert torch.equal(model.head.table, model.table)
    assert torch.equal(checks.logits_of(model, ROWS), checks.logits_of(tied, ROWS))
    model(Inputs(ROWS)).logits.square().sum().backward()
    assert not model.head.table.grad.any() and model.table.grad.any()
    with torch.no_grad():
        model.table.mul_(1.5)
    model.set_progress(0.49)
    assert torch.equal(model.head.table, model.table)
    before = checks.logits_of(model, ROWS)
    model.set_progress(0.5)
    assert torch.equal(checks.logits_of(model, ROWS), before)  # the change itself changes nothing
    with torch.no_grad():
        model.table.mul_(1.5)
    model.set_progress(0.6)
    assert not torch.equal(model.head.table, model.table)
    model.zero_grad()
    model(Inputs(ROWS)).logits.square().sum().backward()
    assert model.head.table.grad.any()
