"""Positions that are given, and reading in both directions: parts that cannot refuse it by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.errors import UserError
from tests.conftest import small_model

TEXT = b"one two three four"
ROWS = torch.tensor([[256, *TEXT]])


def two_way(model, rows=ROWS):
    return model(Inputs(rows, bidirectional=True)).logits.detach()


def test_positions_that_are_given():
    """Counted ones change nothing; a swap of two does."""
    model = small_model(("none", "last", "attention", "tied"))
    counted = torch.arange(ROWS.shape[1])[None]
    plain = model(Inputs(ROWS)).logits
    assert torch.equal(model(Inputs(ROWS, positions=counted)).logits, plain)
    swapped = counted.clone()
    swapped[0, 3], swapped[0, 4] = 4, 3
    assert not torch.allclose(model(Inputs(ROWS, positions=swapped)).logits, plain)


@pytest.mark.parametrize("patching", ["none", "whitespace"])
def test_every_token_sees_its_whole_document_and_no_other(patching):
    model = small_model((patching, "last", "attention", "tied"), encoder_layers=1, decoder_layers=1)
    model.encoder.blocks[0].lookback = model.decoder.blocks[0].lookback = 99
    model.trunk.blocks[0].lookback = model.trunk.blocks[1].lookback = 99
    before = two_way(model)
    changed = ROWS.clone()
    changed[0, -1] = ord("!")
    moved = (two_way(model, changed) - before).abs().amax(dim=2)[0]
    assert (moved > 0).all()
    one_way = (model(Inputs(changed)).logits - model(Inputs(ROWS)).logits).abs().amax(dim=2)[0]
    assert (one_way[:-1] == 0).all()
    packed = torch.cat([ROWS, torch.tensor([[256, *b"another document"]])], dim=1)
    torch.testing.assert_close(two_way(model, packed)[:, :ROWS.shape[1]], before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("cell", "changes", "message"), [
    (("none", "last", "conv", "tied"), {}, "blocks of the kind conv read in one direction only"),
    (("none", "last", "linear", "tied"), {}, "blocks of the kind linear read in one direction only"),
    (("none", "last", "attention", "tied"), {"layers": 4, "depth": "mixture"}, "depth = mixture reads in one direction"),
    (("none", "last", "attention", "tied"), {"layers": 4, "depth": "skip"}, "depth = skip reads in one direction"),
])
def test_what_cannot_is_refused_by_name(cell, changes, message):
    with pytest.raises(UserError, match=message):
        two_way(small_model(cell, **changes))


def test_adapted_layers_read_both_ways_too():
    shared = {"kind": "all", "rank": 2}
    model = small_model(("none", "last", "attention", "tied"), sharing=shared, encoder_layers=0, decoder_layers=0)
    assert model.trunk.blocks[0].supports_bidirectional
    assert two_way(model).isfinite().all()
    assert dataclasses.replace(Inputs(ROWS), bidirectional=True).to(torch.device("cpu")).bidirectional
