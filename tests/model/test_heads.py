"""Heads that predict more than the next token."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.data.stream import Stream
from stlm.model.copying import pointer
from stlm.model.head import parallel
from stlm.model.model_config import ModelConfig
from stlm.model.patching import none
from stlm.model.scores import Scores
from stlm.objective.causal import Causal, further
from tests.conftest import Bytes, shard_of, small_model
from tests.model import checks

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


def test_multi_byte_adds_to_the_loss_in_training_only():
    model = small_model(("whitespace", "last", "conv", "multi_byte")).float()
    batch = Stream(shard_of([b"the same words again. " * 20]), Bytes(), 32, 4, 0).batch(0)
    plain = Causal()(model.eval(), batch)
    trained = Causal()(model.train(), batch)
    assert "loss/ahead" not in plain.metrics
    extra = trained.metrics["loss/ahead"][0]
    torch.testing.assert_close(trained.total, plain.total + extra)
    torch.testing.assert_close(trained.metrics["bits_per_byte"][0], plain.metrics["bits_per_byte"][0])


def test_further_symbols_are_those_further_on():
    torch.manual_seed(0)
    batch = Stream(shard_of([b"some words, and more of them."]), Bytes(), 16, 2, None).batch(0)
    ahead = torch.randn(2, 16, 2, 258, dtype=torch.double)
    total, counted = 0.0, 0.0
    for row in range(2):
        for place in range(2):
            for t in range(16 - place - 1):
                weight = float(batch.weights[row, t + place + 1])
                target = batch.targets[row:row + 1, t + place + 1:t + place + 2]
                total += weight * float(Scores(ahead[row:row + 1, t:t + 1, place]).surprisal(target))
                counted += weight
    assert float(further(ahead, batch)) == pytest.approx(total / counted)


@torch.no_grad()
def test_pooling_by_attention_is_a_softmax_over_the_patch():
    from stlm.model.layout import layout
    from stlm.nn.norm import rms_norm
    model = small_model(("stride", "attention", "conv", "tied"))
    pooling, x = model.pooling, torch.randn(1, 10, 8, dtype=torch.double)
    ends = torch.tensor([[True, False, False, True, True, False, False, False, True, False]])
    got = pooling(x, layout(ends, torch.zeros(1, 10, dtype=torch.long)))
    for patch, members in enumerate(([0], [1, 2, 3], [4], [5, 6, 7, 8])):
        inside = x[0, members]
        query = rms_norm(pooling.query(inside[-1]).view(2, 4))
        key, value = pooling.key_value(inside).view(len(members), 2, 2, 4).unbind(1)
        weights = (torch.einsum("hd,nhd->hn", query, rms_norm(key)) * 4**-0.5).softmax(-1)
        expected = inside[-1] + pooling.out(torch.einsum("hn,nhd->hd", weights, value).flatten())
        torch.testing.assert_close(got[0, patch], expected)


@torch.no_grad()
def test_heads_leave_writing_alone():
    """What predicts further tokens costs nothing when a text is scored."""
    model = small_model(("whitespace", "last", "conv", "multi_byte"))
    assert model(Inputs(ROWS)).ahead is None and model.train()(Inputs(ROWS)).ahead.shape[2] == 2
