"""A part must return the shapes and types of its contract."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stlm.data.batch import Inputs
from stlm.model import checks
from stlm.model.contract import contracts_kept
from stlm.model.patching.whitespace import Whitespace
from stlm.model.pooling.mean import Mean
from stlm.model.scores import Scores
from stlm.nn.block.conv import ConvBlock
from tests.cells import CELLS
from tests.conftest import cell_id, small_model

CELL = ("whitespace", "mean", "conv", "tied", "tokens", "pointer")
ROWS = torch.tensor([checks.tokens_of(checks.TEXT[:20], 256)])


@pytest.mark.parametrize("cell", CELLS[::4], ids=cell_id)
def test_every_part_keeps_its_contract(cell):
    model = small_model(cell)
    with contracts_kept(model):
        model(Inputs(ROWS))
        model(Inputs(ROWS), model.new_cache(1))
        model.train()(Inputs(ROWS))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("part", "change", "returned", "due"), [
    (Mean, lambda x: x[:, 1:], "float64 [1, 15, 8]", "[batch = 1, patch = 16, dim = 8]"),
    (Mean, lambda x: x.float().long(), "int64 [1, 16, 8]", "Float [batch = 1, patch = 16, dim = 8]"),
    (Mean, lambda x: x[0], "float64 [16, 8]", "Float [batch = 1, patch = 16, dim = 8]"),
    (Mean, lambda x: None, "None", "a tensor [batch = 1, patch = 16, dim = 8]"),
    (Whitespace, lambda cut: dataclasses.replace(cut, ends=cut.ends[:, 1:]), "bool [1, 20]", "[batch = 1, seq = 21]"),
    (Whitespace, lambda cut: dataclasses.replace(cut, ends=cut.ends.long()), "int64 [1, 21]", "Bool [batch = 1, seq = 21]"),
    (ConvBlock, lambda found: (found[0][..., :3], found[1]), "float64 [1, 21, 3]", "[batch = 1, seq = 21, dim = 8]"),
    (None, lambda scores: Scores(scores.raw, dataclasses.replace(scores.copies, token=scores.copies.token[1:])),
     "int64 [", "[pair = "),
])
def test_other_shapes_are_named(monkeypatch, part, change, returned, due):
    model = small_model(CELL)
    part = part or type(model.copying)
    whole = part.forward
    monkeypatch.setattr(part, "forward", lambda self, *arguments: change(whole(self, *arguments)))
    with pytest.raises(AssertionError) as raised, contracts_kept(model):
        model(Inputs(ROWS))
    said = str(raised.value)
    assert said.startswith(f"{part.__name__} of {part.__module__} returned {returned}")
    assert f" where the contract says {due}" in said
