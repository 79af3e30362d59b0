"""Attention written out for short rows is the attention that PyTorch computes for long ones."""

from __future__ import annotations

import pytest
import torch

from stlm.nn.block import attention
from stlm.nn.rope import rotate
from stlm.nn.weights import Role, parameters_of

pytestmark = pytest.mark.shapes


def test_gates_are_no_matrix_to_optimizers():
    """They read as many numbers at every width, so rates by width and orthogonal updates aren't for them."""
    block = attention.Config(heads=4, gates=True).build(16)
    assert {one.name: one.role for one in parameters_of(block) if "gate" in one.name} == {"attention.gate.weight": Role.VECTOR}


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_both_ways_agree(monkeypatch, kv_heads):
    torch.manual_seed(0)
    block = attention.Config(heads=4, kv_heads=kv_heads, window=5, gates=True, rope_share=0.5).build(16).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 20, 16, dtype=torch.double)
    segment_ids = torch.tensor([[0] * 9 + [1] * 11, [0] * 20])
    positions = torch.tensor([[*range(9), *range(11)], list(range(20))])

    def run() -> torch.Tensor:
        context = block.context(segment_ids, positions, x.dtype)
        assert (context.bias is None) == (attention.SHORT == 0)
        return block(x, context, None)[0]
    short = run()
    monkeypatch.setattr(attention, "SHORT", 0)
    torch.testing.assert_close(short, run(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("window", "seq"), [(1, 33), (5, 41), (8, 32), (10, 45)])
def test_blocks_of_a_narrow_window_agree_with_the_whole(monkeypatch, window, seq):
    torch.manual_seed(0)
    block = attention.Config(heads=4, kv_heads=2, window=window, gates=True).build(16).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, seq, 16, dtype=torch.double)
    segment_ids = torch.tensor([[0] * 9 + [1] * (seq - 9), [0] * (seq - 3) + [-1] * 3])
    positions = torch.arange(seq).expand(2, seq)

    def run() -> tuple[torch.Tensor, int]:
        context = block.context(segment_ids, positions, x.dtype)
        return block(x, context, None)[0], context.band
    narrow, band = run()
    assert band == max(window, 8)
    monkeypatch.setattr(attention, "NARROW", seq)
    whole, band = run()
    assert band == 0
    torch.testing.assert_close(narrow, whole, rtol=1e-9, atol=1e-9)


def test_gates_are_open_at_first_and_scale_each_head():
    torch.manual_seed(0)
    plain, gated = (attention.Config(heads=4, gates=gates).build(16).double() for gates in (False, True))
    gated.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(plain.attention.out.weight)
    gated.attention.out.weight.data.copy_(plain.attention.out.weight)
    x = torch.randn(1, 6, 16, dtype=torch.double)
    segment_ids, positions = torch.zeros(1, 6, dtype=torch.long), torch.arange(6)[None]
    one, other = (block(x, block.context(segment_ids, positions, x.dtype), None)[0] for block in (plain, gated))
    assert torch.equal(one, other)
    torch.nn.init.normal_(gated.attention.gate.weight, std=9.0)
    found = 2 * gated.attention.gate(gated.attention_norm(x)[..., :12]).sigmoid()
    assert found.shape == (1, 6, 4) and found.min() >= 0 and found.max() <= 2
    mixed = gated.attention(gated.attention_norm(x), gated.context(segment_ids, positions, x.dtype), None)[0]
    weight = gated.attention.out.weight.data
    gated.attention.out.weight.data = torch.eye(16, dtype=torch.double)
    scaled = gated.attention(gated.attention_norm(x), gated.context(segment_ids, positions, x.dtype), None)[0]
    gated.attention.gate = None
    whole = gated.attention(gated.attention_norm(x), gated.context(segment_ids, positions, x.dtype), None)[0]
    torch.testing.assert_close(scaled, (whole.unflatten(-1, (4, 4)) * found[..., None]).flatten(-2))
    torch.testing.assert_close(mixed, scaled @ weight.T)


@pytest.mark.parametrize(("share", "rotated"), [(1.0, 8), (0.5, 4), (0.3, 2), (0.0, 0)])
def test_the_rest_of_a_head_knows_no_positions(share, rotated):
    block = attention.Config(heads=2, rope_share=share).build(16)
    assert block.rotated == rotated
    context = block.context(torch.zeros(1, 5, dtype=torch.long), torch.arange(5)[None], torch.float32)
    x = torch.randn(1, 2, 5, 8)
    moved = (rotate(x, context.rotation) - x).abs().amax(dim=(0, 1, 2)) > 0
    assert moved[:rotated].all() and not moved[rotated:].any()
