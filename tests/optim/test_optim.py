"""Optimizers: which weights they move, how fast, and that a model learns with each of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.conftest import shard_of, small_model
from tests.optim.variants import CONFIGS

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.stream import Stream
from stlm.nn.weights import parameters_of
from stlm.objective.causal import Causal
from stlm.optim import AUTO, OptimConfig, adamw, muon, set_learning_rate, set_weight_decay, soap, split_parameters
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train.run_config import RunConfig


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
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


@pytest.mark.parametrize("config", [
    adamw.Config(lr=0.01, local_lr_mult=2.0), muon.Config(lr=0.01, adamw_lr=0.01, local_lr_mult=2.0),
    muon.Config(lr=0.01, adamw_lr=0.01, local_lr_mult=2.0, local="soap"), soap.Config(lr=0.01, local_lr_mult=2.0)],
    ids=lambda config: config.kind)
def test_rates_of_what_is_not_the_trunk(config):
    """All but the trunk learns at a multiple of the trunk's rate, in every group; every parameter is still moved once."""
    model = small_model(("whitespace", "mean", "conv", "untied")).float()
    optimizers = config.build(parameters_of(model))
    peaks = {id(p): group["peak_lr"] for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    assert len(peaks) == len(list(model.parameters()))
    assert all(peaks[id(p)] == (0.01 if name.startswith("backbone.trunk.") else 0.02) for name, p in model.named_parameters())
    assert {peaks[id(p)] for p in model.trunk.parameters()} == {0.01}


def test_tables_are_no_matrices():
    model = small_model(("whitespace", "mean", "conv", "untied"))
    matrices, tables, _ = ([one.parameter for one in part] for part in split_parameters(parameters_of(model)))
    assert {id(p) for p in tables} == {id(model.table), id(model.head.table.weight)}
    assert all(p.ndim == 2 for p in matrices)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_one_batch_is_learned(config):
    model = small_model(("whitespace", "mean", "conv", "tied")).float()
    config = dataclasses.replace(config, **{name: 0.02 for name in ("lr", "adamw_lr") if hasattr(config, name)})
    optimizers = config.build(parameters_of(model))
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


def test_bad_rates():
    with pytest.raises(ValueError, match="0 or more"):
        adamw.Config(base_width=-1)
    with pytest.raises(ValueError, match="above 0"):
        adamw.Config(local_lr_mult=0.0)
    with pytest.raises(ValueError, match="above 0"):
        adamw.Config(lr=0)
    with pytest.raises(ValueError, match="above 0"):
        muon.Config(adamw_lr=-1)
    with pytest.raises(ValueError, match="every = 5 goes with blocks above 1"):
        muon.Config(every=5)


@pytest.mark.parametrize("config", [adamw.Config(weight_decay=0.2, base_width=32), muon.Config(), muon.Config(local="soap"),
                                    soap.Config()], ids=lambda config: config.kind)
def test_weight_decay_follows_its_schedule(config):
    """Groups without decay stay without."""
    optimizers = config.build(parameters_of(small_model(("whitespace", "mean", "conv", "untied")).float()))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [group["weight_decay"] for group in groups]
    assert max(before) > 0 and min(before) == 0
    for scale in (0.5, 0.0, 1.0):
        set_weight_decay(optimizers, scale)
        assert [group["weight_decay"] for group in groups] == [scale * decay for decay in before]


def test_an_optimizer_of_ones_own_may_have_no_decay():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [weight], "peak_lr": 0.1}], lr=0.1, weight_decay=0.3)
    set_weight_decay([optimizer], 0.5)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


@pytest.mark.parametrize("kind", kinds(OptimConfig))
def test_another_rate_changes_all_rates_alike(kind):
    """But for Muon's second rate."""
    config = decode(RunConfig, {"optim": kind}, RunConfig()).optim
    assert config.rate == config.default_rate() == type(config)().lr
    auto = dataclasses.replace(config, lr=AUTO)
    with pytest.raises(ValueError, match="lr = auto"):
        auto.build(parameters_of(small_model(("whitespace", "mean", "conv", "tied")).float()))
    peaks = []
    for changed in (config, dataclasses.replace(auto, lr=2 * config.rate)):
        optimizers = changed.build(parameters_of(small_model(("whitespace", "mean", "conv", "tied")).float()))
        peaks.append([group["peak_lr"] for optimizer in optimizers for group in optimizer.param_groups])
    still = getattr(config, "adamw_lr", None)
    assert peaks[1] == pytest.approx([peak if peak == still else 2 * peak for peak in peaks[0]])
