"""Dropout: the right share, scaled, the same however rows are split, and only in training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.batches import BatchPlan, text
from stlm.config.decode import decode
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model.room import from_tokens
from stlm.nn.dropout import Dropout, Noise
from stlm.objective.causal import Causal
from stlm.train.dropout import DropoutConfig, add_dropout
from stlm.train.run_config import RunConfig
from tests.conftest import small_model
from tests.train.tiny import tiny_config, tiny_corpus, tiny_trainer

ROWS = torch.arange(64) + 1000
ALL = DropoutConfig(embedding=0.2, residual=0.3, attention=0.2, layer=0.2)
CELL = ("whitespace", "mean", "conv", "tied")


def dropped(rate: float, site: str = "a", shape: tuple[int, ...] = (64, 40, 96), **more: bool) -> torch.Tensor:
    noise = Noise(lambda progress: 1.0)
    noise.begin(ROWS, 64)
    return Dropout(noise, rate, site, **more)(torch.ones(shape))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(64, 40, 96), (64, 3, 29, 31), (64, 2, 5, 17, 23)], ids=str)
def test_the_right_share_is_dropped_everywhere(rate, shape):
    """Along every axis too: no row, no place and no number is favoured. Neighbours are independent."""
    out = dropped(rate, shape=shape)
    lost = (out == 0).double()
    assert torch.unique(out[out != 0]).tolist() == pytest.approx([1 / (1 - rate)])
    variance = rate * (1 - rate)
    assert float(lost.mean()) == pytest.approx(rate, abs=4 * (variance / lost.numel()) ** 0.5)
    for axis, size in enumerate(shape):
        shares = lost.mean(dim=[other for other in range(len(shape)) if other != axis])
        assert float((shares - rate).abs().max()) < 4.5 * (variance / (lost.numel() / size)) ** 0.5
        one, other = (lost.narrow(axis, first, size - 1) - rate for first in (0, 1))
        assert abs(float((one * other).mean()) / variance) < 5 * lost.numel() ** -0.5


def test_parts_draw_independently():
    one, other = ((dropped(0.5, site) == 0).double() - 0.5 for site in ("a", "b"))
    assert abs(float((one * other).mean()) * 4) < 0.01
    assert torch.equal(dropped(0.5), dropped(0.5))


def test_whole_rows_are_dropped_together():
    out = dropped(0.5, whole=True)
    assert torch.equal(out, out[:, :1, :1].expand_as(out)) and 15 < int((out[:, 0, 0] == 0).sum()) < 49


def test_the_rate_follows_its_schedule():
    noise = Noise(lambda progress: 1 - progress)
    noise.begin(ROWS, 64)
    dropout = Dropout(noise, 0.4, "a")
    for progress, share in ((0.0, 0.4), (0.5, 0.2), (1.0, 0.0)):
        noise.set_progress(progress)
        out = dropout(torch.ones(64, 50, 50))
        assert float((out == 0).double().mean()) == pytest.approx(share, abs=0.01)
        assert float(out.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(dropout.eval()(torch.ones(64, 5)), torch.ones(64, 5))


@pytest.mark.parametrize("cell", [CELL, ("none", "last", "attention", "tied"), ("stride", "mean", "linear", "tied")], ids=str)
@pytest.mark.parametrize("changes", [{}, {"layers": 4, "depth": "mixture"}, {"layers": 4, "depth": "skip"},
                                     {"layers": 4, "sharing": {"kind": "cycle", "rank": 2}}], ids=str)
def test_rows_drop_alike_however_they_are_split(cell, changes):
    model = small_model(cell, **changes).train()
    names = set(model.state_dict())
    before = model.eval()(Inputs(torch.tensor([[256, *b"some words of a text"]]))).logits
    add_dropout(model, ALL)
    assert set(model.state_dict()) == names
    assert torch.equal(model(Inputs(torch.tensor([[256, *b"some words of a text"]]))).logits, before)  # not in training
    plan = BatchPlan(tiny_corpus(), Causal(), 32, 4, 1, 7, from_tokens(model))
    whole, = text.Config().build(plan).batches(1, model.train())
    halves = text.Config().build(dataclasses.replace(plan, grad_accum=2)).batches(1, model)
    out = model(whole).logits
    torch.testing.assert_close(out, torch.cat([model(half).logits for half in halves]), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(out, model.eval()(whole).logits)


def test_attention_drops_out():
    model = small_model(("none", "last", "attention", "tied"))
    add_dropout(model, DropoutConfig(attention=0.5))
    rows = torch.tensor([[256, *b"some words of a text, and some more words."]])
    with torch.no_grad():
        moved = model.train()(Inputs(rows, rows=ROWS[:1])).logits - model.eval()(Inputs(rows)).logits
    assert (moved.abs().amax(dim=2)[0, 1:] > 0).double().mean() > 0.9


def test_dropout_of_attention_needs_attention():
    config = decode(RunConfig, {"model": {"trunk": "conv"}}, tiny_config()).model
    from stlm.model.lm import LM
    from stlm.text.tokenizer.bytes import ByteTokenizer
    with pytest.raises(UserError, match="no attention"):
        add_dropout(LM(config, ByteTokenizer()), DropoutConfig(attention=0.1))


def test_a_run_with_dropout_goes_on_bit_for_bit(tmp_path):
    from tests.train.test_training import StopAt
    fields = {"train": {"dropout": {"embedding": 0.1, "residual": 0.2, "attention": 0.1, "layer": 0.1, "schedule": "linear"}}}
    config = decode(RunConfig, fields, tiny_config(steps=8))
    whole = tiny_trainer(tmp_path / "whole", config=config)
    whole.run()
    tiny_trainer(tmp_path / "cut", config=config, callbacks=[StopAt(3)]).run()
    cut = tiny_trainer(tmp_path / "cut", config=config, resume=True)
    cut.run()
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in cut.model.state_dict().items())
    plain = tiny_trainer(tmp_path / "plain", steps=8)
    plain.run()
    assert any(not torch.equal(value, whole.model.state_dict()[name]) for name, value in plain.model.state_dict().items())
