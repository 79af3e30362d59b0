"""Patches that are learned, and patches by entropy, are what their papers define."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model import checks
from stlm.model.patching import dynamic, entropy, subword
from stlm.nn.weights import parameters_of
from stlm.text.tokenizer.bytes import ByteTokenizer
from tests.conftest import small_model

pytestmark = pytest.mark.shapes

ROWS = torch.tensor([checks.tokens_of(checks.TEXT, 256)])
DYNAMIC = ("dynamic", "last", "conv", "tied")
ENTROPY = ("entropy", "last", "conv", "tied")


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("goes_on", [False, True])
def test_dechunk_is_the_moving_average(n, goes_on):
    torch.manual_seed(n)
    states, prob = torch.randn(2, n, 3, dtype=torch.double), torch.rand(2, n, dtype=torch.double)
    before = torch.randn(2, 3, dtype=torch.double) if goes_on else None
    z, expected = before if goes_on else torch.zeros(2, 3, dtype=torch.double), []
    for k in range(n):
        z = prob[:, k, None] * states[:, k] + (1 - prob[:, k, None]) * z
        expected.append(z)
    found = dynamic.smoothed(states, prob, before)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=1e-12, atol=1e-12)


def test_an_end_is_where_neighbours_differ():
    rule = dynamic.Config().build(ByteTokenizer(), 4)
    same, other = torch.tensor([1.0, 0, 0, 0]), torch.tensor([-1.0, 0.1, 0, 0])
    encoded = torch.stack([same, same, other, other, same])[None]
    zeros = torch.zeros(1, 5, dtype=torch.long)
    cut = rule(zeros, zeros, torch.arange(5)[None], encoded, None, None)
    assert cut.ends[0].tolist() == [True, False, True, False, True]
    torch.testing.assert_close(cut.boundary_prob[0, 1], torch.tensor(0.0))


@pytest.mark.parametrize("target", [2.0, 5.0])
def test_the_loss_of_the_ratio_is_least_at_the_target(target):
    rule = dynamic.Config(target=target, ratio_loss_weight=1.0).build(ByteTokenizer(), 4)

    def loss(share: float) -> float:
        ends = torch.arange(1000)[None] < share * 1000
        return float(rule._ratio_loss(ends, torch.full((1, 1000), share, dtype=torch.double)))
    assert loss(1 / target) == pytest.approx(1.0, abs=0.01)
    assert loss(1 / target) < min(loss(0.6 / target), loss(1.5 / target))


def test_straight_through_changes_nothing_but_the_gradient():
    model = small_model(DYNAMIC).train()
    output = model(Inputs(ROWS))
    gradient, = torch.autograd.grad(output.logits.square().sum(), model.patching.query.weight)
    assert gradient.abs().sum() > 0
    cut = model.patching(ROWS, torch.zeros_like(ROWS), torch.arange(ROWS.shape[1])[None],
                         torch.randn(1, ROWS.shape[1], 8, dtype=torch.double), None, None)
    x = torch.randn(1, ROWS.shape[1], 8, dtype=torch.double)
    torch.testing.assert_close(cut.straight_through(x), x)


def test_the_router_has_a_learning_rate_of_its_own():
    from stlm.optim import adamw, muon
    model = small_model(("dynamic", "last", "conv", "tied"), patching={"kind": "dynamic", "lr_mult": 0.5})
    for config in (adamw.Config(lr=0.01), muon.Config(adamw_lr=0.01)):
        rates = {id(p): group["peak_lr"] for optimizer in config.build(parameters_of(model)) for group in optimizer.param_groups
                 for p in group["params"]}
        assert rates[id(model.patching.query.weight)] == pytest.approx(0.005)
        assert rates[id(model.table)] == pytest.approx(0.01)


@pytest.mark.parametrize("rule", ["global", "monotonic"])
@torch.no_grad()
def test_ends_follow_the_entropy_of_the_next_byte(rule):
    model = small_model(ENTROPY, patching={"kind": "entropy", "dim": 4, "layers": 1})
    p = model.patching.reader(Inputs(ROWS)).logits.softmax(-1)
    bits = -(p * p.log()).sum(-1)[0] / math.log(2)
    assert bits.min() > 0 and bits.max() < math.log2(258)
    compared = bits if rule == "global" else bits - torch.cat([torch.zeros(1), bits[:-1]])
    threshold = float(compared[1:].median()) + 1e-6
    model.patching.config = dataclasses.replace(model.patching.config, rule=rule, threshold=threshold)
    expected = compared > threshold
    expected[0] = True
    assert torch.equal(checks.ends_of(model, ROWS)[0], expected)
    assert 0.3 < expected.double().mean() < 0.7


def test_the_small_model_is_frozen_and_has_the_weights_of_its_run():
    model, asked = small_model(ENTROPY), []
    assert not any(p.requires_grad for p in model.patching.reader.parameters())

    def load(run, part):
        asked.append(run)
        torch.nn.init.ones_(part.table)
    model.load_frozen(load)
    assert asked == ["reader"] and (model.patching.reader.table == 1).all()

    def nothing(run, part):
        raise UserError(f"there is no run {run!r}")
    with pytest.raises(UserError, match="there is no run 'reader'; to train one .* stlm train reader --data TEXT"):
        model.load_frozen(nothing)


def test_subwords_need_marks():
    with pytest.raises(UserError, match="--data.tokenizer subword"):
        subword.Config().build(ByteTokenizer(), 4)


def test_reader_is_the_preset():
    from stlm.train.presets import reader
    config = entropy.Config()
    assert reader().model == entropy.reader(config.dim, config.layers)
