"""The checks of the invariants find models that were broken on purpose."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.model import backbone, checks, lm
from stlm.model.small import Letters
from tests.conftest import small_model

CELL = ("whitespace", "mean", "conv", "tied")
ROWS = torch.tensor([checks.tokens_of(checks.TEXT, 256)])


def break_layout(monkeypatch, change):
    whole = backbone.layout
    monkeypatch.setattr(backbone, "layout", lambda *arguments: change(whole(*arguments)))


def test_trunk_output_of_the_current_patch_instead_of_the_completed_one(monkeypatch):
    break_layout(monkeypatch, lambda found: dataclasses.replace(
        found, ended=(found.ended + 1).clamp(max=found.n_patches)))
    model = small_model(CELL)
    with pytest.raises(AssertionError, match="leaks"):
        checks.check_nothing_leaks(model, ROWS, 256)
    with pytest.raises(AssertionError):
        checks.check_sums_to_one(small_model(CELL, Letters()), 3, 6)


def test_pooling_that_takes_the_next_byte_too(monkeypatch):
    break_layout(monkeypatch, lambda found: dataclasses.replace(
        found, patch_of_byte=torch.cat([found.patch_of_byte[:, :1], found.patch_of_byte[:, :-1]], dim=1)))
    with pytest.raises(AssertionError, match="leaks"):
        checks.check_nothing_leaks(small_model(CELL), ROWS, 256)


def test_positions_that_do_not_start_anew_with_a_document(monkeypatch):
    whole = lm.segment_positions

    def shifted(opens, before=None):
        documents, positions = whole(opens, before)
        return torch.zeros_like(documents), positions
    monkeypatch.setattr(lm, "segment_positions", shifted)
    with pytest.raises(AssertionError):
        checks.check_neighbours_do_not_matter(small_model(CELL), b"Another one", checks.TEXT)


def test_a_cache_that_is_one_position_off(monkeypatch):
    whole = lm.segment_positions

    def shifted(opens, before=None):
        documents, positions = whole(opens, before)
        return documents, positions + (before is not None and before[0, 1] >= 0)
    monkeypatch.setattr(lm, "segment_positions", shifted)
    with pytest.raises(AssertionError):
        checks.check_one_at_a_time(small_model(("stride", "mean", "attention", "tied")), ROWS[0])


def test_a_cache_that_forgets_the_waiting_bytes(monkeypatch):
    monkeypatch.setattr("stlm.model.pooling.mean.Mean.needs_whole_patch", False)
    with pytest.raises(AssertionError):
        checks.check_one_at_a_time(small_model(CELL), ROWS[0])
