"""Parameter counts: presets keep their names' word, and parts add up."""

from __future__ import annotations

import pytest
import torch

from stlm.model.count import count
from stlm.model.lm import LM
from stlm.train.presets import PRESETS
from tests.conftest import small_model

NAMED = {"10m": 10e6, "10m-flat": 10e6, "10m-bpe": 10e6, "50m": 50e6, "100m": 100e6,
         "10m-shared": 10e6, "50m-shared": 50e6, "100m-shared": 100e6}


@pytest.mark.parametrize(("name", "size"), NAMED.items())
def test_presets_are_as_large_as_they_say(name, size):
    config = PRESETS[name]()
    with torch.device("meta"):
        unique = count(LM(config.model, config.data.tokenizer.outline())).unique
    assert unique == pytest.approx(size, rel=0.03)


def test_demo_is_between_one_and_three_million():
    config = PRESETS["demo"]()
    assert 1e6 <= count(LM(config.model, config.data.tokenizer.outline())).unique <= 3e6


def test_parts_add_up(cell):
    model = small_model(cell)
    counted = count(model)
    assert counted.tables + counted.local + counted.trunk == counted.unique == sum(p.numel() for p in model.parameters())
    assert counted.total >= counted.unique
    alone = count(small_model(cell, sharing="none"))
    assert alone.total == alone.unique >= counted.unique


def test_shared_weights_count_once():
    model = small_model(("whitespace", "mean", "conv", "tied"))
    before = count(model)
    freed = sum(p.numel() for p in model.trunk.blocks[1].ffn.parameters())
    model.trunk.blocks[1].ffn = model.trunk.blocks[0].ffn
    after = count(model)
    assert (after.total, after.unique) == (before.total, before.unique - freed)
    assert after.trunk == before.trunk - freed
