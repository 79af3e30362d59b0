"""The invariants of the house, for each pair of kinds that can stand together; among the slow cases, for many more."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.config.slot import kinds
from stlm.data.batch import Inputs
from stlm.model import checks
from stlm.model.checks import ODD
from stlm.model.patching import PatchingConfig
from stlm.model.small import Letters
from tests.conftest import small_config, small_model

BOS = 256


RULES = [(patching, {}) for patching in kinds(PatchingConfig)]
RULES += [("dynamic", {"local": "attention"}), ("dynamic", {"local": "linear"}), ("entropy", {"rule": "global"})]


def model_that_cuts(patching, changes):
    model = small_model((patching, "last", changes.get("local", "conv"), "tied"))
    if "rule" in changes:
        model.patching.config = dataclasses.replace(model.patching.config, threshold=4.0, **changes)
    return model


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("patching", "changes"), RULES, ids=str)
@given(data=st.binary(min_size=1, max_size=60), opens=st.sets(st.integers(0, 59), max_size=3))
def test_boundaries_depend_on_the_past_only(patching, changes, training, data, opens):
    model = model_that_cuts(patching, changes).train(training)
    rows = torch.tensor([[BOS if i in opens else byte for i, byte in enumerate(data)]])
    checks.check_boundaries_depend_on_the_past(model, rows, 256)


@pytest.mark.parametrize(("patching", "changes"), RULES, ids=str)
@given(data=st.binary(min_size=2, max_size=60), cut=st.integers(1, 59))
@torch.no_grad()
def test_boundaries_go_on_from_a_memory(patching, changes, data, cut):
    model = model_that_cuts(patching, changes)
    rows, cache = torch.tensor([list(data)]), model.new_cache(1)
    cut = min(cut, len(data) - 1)
    parts = [model(Inputs(part), cache).ends for part in (rows[:, :cut], rows[:, cut:])]
    assert torch.equal(torch.cat(parts, dim=1), checks.ends_of(model, rows))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_nothing_leaks(cell, training):
    model = small_model(cell).train(training)
    if training and not checks.causal_in_training(model.config):
        pytest.skip("a part of this model looks ahead while it trains")
    rows = torch.tensor([checks.tokens_of(checks.TEXT[:39], BOS), [*checks.TEXT[30:], BOS, *checks.TEXT[:12]]])
    checks.check_nothing_leaks(model, rows, 256)


def test_likelihood_sums_to_one(cell):
    checks.check_sums_to_one(small_model(cell, Letters()), tokens=3, length=5)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_one_step_at_a_time_equals_all_at_once(cell, seed):
    model = small_model(cell, seed=seed)
    text = checks.TEXT[11:41] + "naïve 超小 🎉 ok".encode()
    rows = [[BOS, *text], [*text[7:30], BOS, BOS, *text[:22]], list(b"It " + text)]
    seq = min(map(len, rows))
    rows = torch.tensor([row[:seq] for row in rows])
    checks.check_steps_equal_whole(model, rows, seed)
    checks.check_one_at_a_time(model, rows[seed, :28])


def test_neighbours_do_not_matter(cell):
    checks.check_neighbours_do_not_matter(small_model(cell), b"Another one, unfini", checks.TEXT)


def test_odd_input(cell):
    model = small_model(cell)
    for text in ODD.values():
        checks.check_odd_input(model, text[:520])  # long enough for attention over long rows


def test_ten_thousand_times_one_letter():
    model = small_model(("whitespace", "mean", "conv", "tied"), layers=1).float()
    row = torch.tensor([checks.tokens_of(ODD["ten thousand letters"], BOS)])
    assert checks.logits_of(model, row).isfinite().all()


def test_room_for_patches_changes_nothing(cell):
    model = small_model(cell)
    if not model.patching.in_stream:
        pytest.skip("the data stream doesn't find the ends of these patches")
    rows = torch.tensor([checks.tokens_of(checks.TEXT, BOS)])
    ends = checks.ends_of(model, rows)
    with torch.no_grad():
        roomy = model(Inputs(rows, ends=ends, n_patches=int(ends.sum()) + 9)).logits
    torch.testing.assert_close(roomy, checks.logits_of(model, rows), rtol=1e-9, atol=1e-9)


def test_every_parameter_learns(cell):
    rows = torch.tensor([checks.tokens_of(checks.TEXT, BOS)])
    checks.check_every_parameter_learns(lambda seed: small_model(cell, seed=seed), rows)


def test_a_config_survives_json(cell):
    checks.check_config_survives_json(small_config(cell))
