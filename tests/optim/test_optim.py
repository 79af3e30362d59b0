"""Optimizers and the schedule."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.conftest import small_model

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.nn.weights import parameters_of
from stlm.optim import adamw, muon, set_learning_rate, split_parameters
from stlm.schedule import ScheduleConfig, between, linear, rate_factor
from stlm.train.run_config import RunConfig


@pytest.mark.parametrize("config", [adamw.Config(), muon.Config()], ids=["adamw", "muon"])
def test_every_parameter_is_moved_by_exactly_one_optimizer(cell, config):
    model = small_model(cell).float()
    owned = [p for optimizer in config.build(parameters_of(model)) for group in optimizer.param_groups for p in group["params"]]
    assert len(owned) == len({id(p) for p in owned})
    assert {id(p) for p in owned} == {id(p) for p in model.parameters() if p.requires_grad}


def test_rates_by_width():
    """A matrix's rate falls with its inputs; what is no matrix learns alike, and every parameter is still moved once."""
    model = small_model(("whitespace", "mean", "conv", "tied")).float()
    matrices, tables, vectors = ([one.parameter for one in part] for part in split_parameters(parameters_of(model)))
    (optimizer,) = adamw.Config(lr=0.01, base_width=32).build(parameters_of(model))
    peaks = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len({p.shape[1] for p in matrices}) > 1
    assert all(peaks[id(p)] == pytest.approx(0.01 * 32 / p.shape[1]) for p in matrices)
    assert all(peaks[id(p)] == 0.01 for p in [*tables, *vectors])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(matrices) + len(tables) + len(vectors)


def test_rates_of_what_is_not_the_trunk():
    """All but the trunk learns at a multiple of the trunk's rate, in every group; every parameter is still moved once."""
    model = small_model(("whitespace", "mean", "conv", "untied")).float()
    (optimizer,) = adamw.Config(lr=0.01, local_lr_mult=2.0).build(parameters_of(model))
    peaks = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(peaks) == len(list(model.parameters()))
    assert all(peaks[id(p)] == (0.01 if name.startswith("backbone.trunk.") else 0.02) for name, p in model.named_parameters())
    assert {peaks[id(p)] for p in model.trunk.parameters()} == {0.01}


def test_tables_are_no_matrices():
    model = small_model(("whitespace", "mean", "conv", "untied"))
    matrices, tables, _ = ([one.parameter for one in part] for part in split_parameters(parameters_of(model)))
    assert {id(p) for p in tables} == {id(model.table), id(model.head.table.weight)}
    assert all(p.ndim == 2 for p in matrices)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 4), (1, 4, 16)])
def test_orthogonal_sets_singular_values_to_about_one(shape):
    torch.manual_seed(0)
    moves = muon.orthogonal(torch.randn(shape)).float()
    values = torch.linalg.svdvals(moves)
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("config", [adamw.Config(lr=0.02), muon.Config(lr=0.02, adamw_lr=0.02)], ids=["adamw", "muon"])
def test_a_step_lowers_the_loss(config):
    model = small_model(("whitespace", "mean", "conv", "tied")).float()
    optimizers = config.build(parameters_of(model))
    from tests.conftest import shard_of

    from stlm.data.stream import Stream
    from stlm.objective.causal import Causal
    from stlm.text.tokenizer.bytes import ByteTokenizer
    batch = Stream(shard_of([b"the same words again. " * 20]), ByteTokenizer(), 32, 4, 0).batch(0)
    losses = []
    for _ in range(30):
        loss = Causal()(model, batch)
        losses.append(loss.total.item())
        loss.total.backward()
        set_learning_rate(optimizers, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def test_schedule():
    rates = [rate_factor(linear.Config(), step, step / 100, 10, 0.4) for step in range(100)]
    assert rates[:10] == [pytest.approx((i + 1) / 11) for i in range(10)]
    assert rates[10:60] == [1.0] * 50
    assert all(a > b for a, b in itertools.pairwise(rates[60:]))
    assert 0 < rates[-1] < 0.03


def test_a_schedule_need_not_decay():
    assert rate_factor(linear.Config(), 99, 0.99, 10, 0.0) == 1.0


@pytest.mark.parametrize("kind", kinds(ScheduleConfig))
def test_every_shape_falls_from_one_to_zero(kind):
    schedule = decode(RunConfig, {"train": {"schedule": kind}}, RunConfig()).train.schedule
    values = [schedule.factor(remaining / 20) for remaining in range(20, -1, -1)]
    assert values[0] == pytest.approx(1.0) and values[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_a_value_on_its_way():
    assert [between(linear.Config(), 0.5, 0.1, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.3, 0.1])


def test_bad_rates():
    with pytest.raises(ValueError, match="0 or more"):
        adamw.Config(base_width=-1)
    with pytest.raises(ValueError, match="above 0"):
        adamw.Config(local_lr_mult=0.0)
    with pytest.raises(ValueError, match="above 0"):
        adamw.Config(lr=0)
    with pytest.raises(ValueError, match="above 0"):
        muon.Config(adamw_lr=-1)
