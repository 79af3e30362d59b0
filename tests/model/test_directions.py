"""Positions that are given, and rows that are read in both directions by the parts that can."""

from __future__ import annotations

import pytest
import torch

from stlm.data.batch import Inputs
from tests.conftest import small_model

TEXT = b"one two three four"
ROWS = torch.tensor([[256, *TEXT]])


def two_way(model, rows=ROWS):
    return model(Inputs(rows, bidirectional=torch.ones(len(rows), dtype=torch.bool))).logits.detach()


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


@pytest.mark.parametrize(("cell", "changes"), [
    (("none", "last", "conv", "tied"), {"trunk": "conv"}),
    (("none", "last", "linear", "tied"), {"trunk": "linear"}),
    (("none", "last", "conv", "tied"), {"layers": 4, "depth": "mixture"}),
    (("none", "last", "conv", "tied"), {"layers": 4, "depth": "skip"}),
], ids=str)
def test_what_cannot_reads_in_one_direction(cell, changes):
    model = small_model(cell, **changes)
    assert not model.supports_bidirectional
    assert torch.equal(two_way(model), model(Inputs(ROWS)).logits)


def test_some_rows_read_both_ways():
    """Each row is read as if it were alone, whatever is said of the others; the local parts here read in one direction."""
    model, rows = small_model(("whitespace", "last", "conv", "tied")), torch.cat([ROWS, ROWS])
    both = model(Inputs(rows, bidirectional=torch.tensor([False, True]))).logits
    torch.testing.assert_close(both[:1], model(Inputs(ROWS)).logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(both[1:], two_way(model), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(both[0], both[1])


def test_adapted_layers_read_both_ways_too():
    shared = {"kind": "all", "rank": 2}
    model = small_model(("none", "last", "attention", "tied"), sharing=shared, encoder_layers=0, decoder_layers=0)
    assert model.trunk.blocks[0].supports_bidirectional
    assert two_way(model).isfinite().all()
