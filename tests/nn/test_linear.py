"""Gated linear attention in chunks is the recurrence that defines it."""

from __future__ import annotations

import pytest
import torch

from stlm.nn.block import linear
from stlm.nn.stack import NOTHING, Stack

pytestmark = pytest.mark.shapes

SEGMENT_IDS = torch.tensor([[0] * 5 + [1] * 12 + [2] * 6, [0] * 23])


def recurrence(q, k, v, log_a, segment_ids, before, state):
    """One position after the other."""
    batch, seq, heads, key = q.shape
    out = torch.zeros_like(v)
    for b in range(batch):
        memory = torch.zeros(heads, key, v.shape[-1], dtype=q.dtype) if state is None else state[b]
        owner = int(before[b, 0])
        for t in range(seq):
            if int(segment_ids[b, t]) != owner:
                memory, owner = torch.zeros_like(memory), int(segment_ids[b, t])
            memory = log_a[b, t].exp()[:, None, None] * memory + k[b, t, :, :, None] * v[b, t, :, None, :]
            out[b, t] = (q[b, t, :, :, None] * memory).sum(1)
    return out


@pytest.mark.parametrize("chunk", [1, 4, 7, 64])
@pytest.mark.parametrize("goes_on", [False, True])
def test_chunks_are_the_recurrence(chunk, goes_on):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 23, 2, 3, dtype=torch.double)
    v, log_a = torch.randn(2, 23, 2, 5, dtype=torch.double), -torch.rand(2, 23, 2, dtype=torch.double)
    before = torch.tensor([[0], [0]]) if goes_on else torch.full((2, 1), NOTHING)
    state = torch.randn(2, 2, 3, 5, dtype=torch.double) if goes_on else None
    expected = recurrence(q, k, v, log_a, SEGMENT_IDS, before, state)
    got = linear.scan(q, k, v, log_a, SEGMENT_IDS, before, state, chunk)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_a_long_memory_neither_overflows_nor_vanishes():
    """Products of thousands of factors near one, and of factors near zero, stay finite, with finite gradients."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 3000, 1, 4)
    v = torch.randn(1, 3000, 1, 4)
    for rate in (1e-4, 50.0):
        log_a = torch.full((1, 3000, 1), -rate, requires_grad=True)
        y = linear.scan(q, k, v, log_a, torch.zeros(1, 3000, dtype=torch.long), torch.full((1, 1), NOTHING), None, 64)
        y.square().mean().backward()
        assert y.isfinite().all() and log_a.grad.isfinite().all()


def test_it_remembers_further_than_any_window():
    torch.manual_seed(0)
    stack = Stack([linear.Config(heads=2, key_dim=4, chunk=4).build(8) for _ in range(2)]).double()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    segment_ids, positions = torch.zeros(1, 60, dtype=torch.long), torch.arange(60)[None]
    x = torch.randn(1, 60, 8, dtype=torch.double)
    changed = x.clone()
    changed[0, 0] += 1
    moved = (stack(changed, segment_ids, positions).states - stack(x, segment_ids, positions).states).abs().amax(dim=2)[0]
    assert (moved > 0).all()
