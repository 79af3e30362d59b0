"""What is added between the layers of a trunk: nothing at first, then what it says, and refused where it can't be."""

from __future__ import annotations

import pytest
import torch

from stlm.config.decode import decode
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.generate.speculate import SelfSpeculator
from stlm.model import checks
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.nn.weights import Role, parameters_of
from stlm.text.tokenizer.bytes import ByteTokenizer
from tests.conftest import small_config, small_model

CELL = ("whitespace", "last", "conv", "tied")
ALL = {"kind": "residual", "scalars": True, "unet": True, "ngrams": 64, "values": 64, "orders": [3, 8], "value_residual": True}
ROWS = torch.tensor([checks.tokens_of(checks.TEXT, 256)])


def new_model(depth: str | dict, layers: int = 5) -> LM:
    torch.manual_seed(0)
    config = decode(ModelConfig, {"dim": 32, "local_dim": 16, "layers": layers, "depth": depth}, ModelConfig())
    return LM(config, ByteTokenizer()).double().eval()


@pytest.mark.parametrize("layers", [3, 4, 5])
def test_a_new_model_computes_what_it_computes_without(layers):
    plain, added = new_model("full", layers), new_model(ALL, layers)
    missing = added.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and all("trunk" in name for name in missing.missing_keys)
    torch.testing.assert_close(checks.logits_of(added, ROWS), checks.logits_of(plain, ROWS), rtol=1e-12, atol=1e-12)


def test_every_part_learns():
    """All tables and scalars get gradients, those of layers that mix nothing excepted."""
    model = small_model(CELL, layers=4, depth=ALL)
    model(Inputs(ROWS)).logits.square().sum().backward()
    found = {info.name: info for info in parameters_of(model)
             if info.name.startswith("backbone.trunk.") and "blocks" not in info.name}
    assert len(found) == 8
    for name, info in found.items():
        grad = info.parameter.grad
        assert grad is not None and grad.any(), name
        assert (info.role is Role.TABLE) == name.endswith("table") and info.in_trunk
    assert found["backbone.trunk.skips.each"].lr_mult == 5.0


def test_what_is_added_before_a_layer():
    """Written out for a trunk over tokens with layers that add one."""
    model = small_model(("none", "last", "conv", "tied"), layers=4, trunk="conv", dim=8,
                        depth={"kind": "residual", "scalars": True, "unet": True, "ngrams": 9, "orders": [2]})
    trunk = model.trunk
    x, seen = torch.randn(1, 6, 8, dtype=torch.double), []
    hashes = torch.randint(1000, (1, 6, 1))
    for block in trunk.blocks:
        block.forward = lambda x, context, past: (seen.append(x) or x + 1, ())
    out = trunk(x, torch.zeros(1, 6, dtype=torch.long), torch.arange(6)[None], hashes=hashes).states
    row, outputs, here = trunk.ngrams.table[hashes[..., 0] % 9], [], x
    for depth in range(4):
        here = trunk.keep.each[depth] * here + trunk.origin.each[depth] * x
        if depth == 3:  # the layer directly before the third one is no skip
            here = here + trunk.skips.each[0] * outputs[0]
        here = here + trunk.ngrams.scale.each[depth] * row
        torch.testing.assert_close(seen[depth], here)
        here = here + 1
        outputs.append(here)
    torch.testing.assert_close(out, here)


def test_values_are_added_to_values():
    """An equal row added to the values of all positions is added to what every head finds."""
    model = small_model(CELL, layers=2, depth={"kind": "residual", "scalars": False, "values": 7, "orders": [1]})
    block = model.trunk.blocks[0]
    x = torch.randn(1, 5, 16, dtype=torch.double)
    context = block.context(torch.zeros(1, 5, dtype=torch.long), torch.arange(5)[None], x.dtype)
    attention = block.attention
    attention.gate = None
    attention.out.weight.data = torch.eye(16, dtype=torch.double)
    plain = attention(x, context, None)[0]
    row = torch.randn(attention.kv_heads * attention.head_dim, dtype=torch.double)
    context.values = row.expand(1, 5, -1)
    wide = row.view(attention.kv_heads, -1).repeat_interleave(attention.heads // attention.kv_heads, dim=0).flatten()
    torch.testing.assert_close(attention(x, context, None)[0], plain + wide)


def test_n_grams_end_with_the_patch():
    """A byte after the end of the last patch changes nothing that the trunk was given."""
    model, given = small_model(CELL, layers=2, depth={"kind": "residual", "ngrams": 50, "orders": [4]}), []
    model.trunk.register_forward_pre_hook(lambda trunk, arguments, named: given.append(named["hashes"]), with_kwargs=True)
    for text in (b"one two th", b"one two ty"):
        checks.logits_of(model, torch.tensor([[256, *text]]))
    assert torch.equal(given[0], given[1]) and given[0].shape[2] == 1
    checks.logits_of(model, torch.tensor([[256, *b"one twa th"]]))
    assert not torch.equal(given[0], given[2])


@pytest.mark.parametrize(("fields", "message"), [
    ({"depth": {"kind": "residual", "values": 8}, "trunk": "linear"}, "choose trunk = attention"),
    ({"depth": {"kind": "residual", "value_residual": True}, "trunk": "conv"}, "choose trunk = attention"),
    ({"depth": {"kind": "residual", "orders": []}}, "at least one length"),
    ({"layers": 2, "depth": {"kind": "residual", "unet": True}}, "three layers or more"),
    ({"layers": 1, "depth": {"kind": "residual", "value_residual": True}}, "two layers or more"),
    ({"depth": {"kind": "mixture", "unet": True}}, "unet"),
])
def test_what_it_cannot_go_with(fields, message):
    with pytest.raises((UserError, ValueError), match=message):
        decode(ModelConfig, fields, ModelConfig())


def test_it_cannot_be_drafted_with():
    assert not small_model(CELL, layers=4, depth=ALL).trunk.can_split
    with pytest.raises(UserError, match="cut in two, because of depth = residual"):
        SelfSpeculator(small_model(CELL, layers=4, depth=ALL), 1)


def test_the_usual_model_has_no_new_weights():
    assert not any(word in name for name in LM(small_config(CELL), ByteTokenizer()).state_dict()
                   for word in ("scale", "skips", "origin", "reach"))
