"""Batches made ahead are the batches."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import shard_of

from stlm.data.prefetch import Prefetch
from stlm.data.stream import Stream
from stlm.text.tokenizer.bytes import ByteTokenizer

DOCUMENTS = [bytes([65 + i % 26]) * (5 + i) for i in range(40)]


def stream() -> Stream:
    return Stream(shard_of(DOCUMENTS), ByteTokenizer(), 16, 4, 0)


def test_whatever_is_asked_for_comes_in_whatever_order():
    shared, plain = stream(), stream()
    ahead = Prefetch(lambda step: [shared.batch(2 * step), shared.batch(2 * step + 1)])
    for step in (0, 1, 2, 40, 41, 7, 8, 0):  # on the way another one may use the same stream, across epochs too
        shared.batch(1000 - step)
        for batch, number in zip(ahead(step), (2 * step, 2 * step + 1), strict=True):
            expected = plain.batch(number)
            assert torch.equal(batch.inputs, expected.inputs)
            assert torch.equal(batch.targets, expected.targets)
            assert torch.equal(batch.weights, expected.weights)


def test_the_next_one_is_made_before_it_is_asked_for():
    made = list[int]()
    ahead = Prefetch(lambda step: made.append(step) or [])
    ahead(3)
    ahead(4)
    ahead._next[1].result()
    assert made == [3, 4, 5]


def test_a_fault_of_the_stream_is_raised_where_its_batch_is_asked_for():
    def make(step: int) -> list:
        if step == 1:
            raise ValueError("a damaged shard")
        return []

    ahead = Prefetch(make)
    ahead(0)
    with pytest.raises(ValueError, match="damaged"):
        ahead(1)
