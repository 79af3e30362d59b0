"""Attention written out for short rows is the attention that PyTorch computes for long ones."""

from __future__ import annotations

import pytest
import torch

from stlm.nn.block import attention
from stlm.nn.ffn import relu2

pytestmark = pytest.mark.shapes


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_both_ways_agree(monkeypatch, kv_heads):
    torch.manual_seed(0)
    block = attention.AttentionBlock(16, 4, kv_heads, window=5, ffn=relu2.Config(), qk_norm=True, rope_base=1e4).double()
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
    block = attention.AttentionBlock(16, 4, 2, window, ffn=relu2.Config(), qk_norm=True, rope_base=1e4).double()
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
