"""Batches are a pure function of seed and number, and every token is predicted exactly once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import shard_of

from stlm.data.stream import Stream
from stlm.text.tokenizer.bytes import ByteTokenizer

TOKENIZER = ByteTokenizer()
DOCUMENTS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12)


def epoch(stream: Stream, number: int = 0) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All rows of one epoch: inputs, targets, weights."""
    tokens, counted = stream._rows([number * stream.epoch_rows + row for row in range(stream.epoch_rows)])
    return list(zip(tokens[:, :-1], tokens[:, 1:], counted, strict=True))


@given(documents=DOCUMENTS, seq=st.integers(1, 30), seed=st.one_of(st.none(), st.integers(0, 5)), number=st.integers(0, 2))
def test_every_byte_is_predicted_once_an_epoch(documents, seq, seed, number):
    rows = epoch(Stream(shard_of(documents), TOKENIZER, seq, 1, seed), number)
    predicted = np.concatenate([targets[weights > 0] for _, targets, weights in rows])
    expected = np.concatenate([np.frombuffer(b"".join(documents), np.uint8), np.full(len(documents), TOKENIZER.bos)])
    assert sorted(predicted) == sorted(expected)


@given(documents=DOCUMENTS, seq=st.integers(2, 30), data=st.data())
def test_overlapping_rows_predict_every_byte_once_and_in_order(documents, seq, data):
    stride = data.draw(st.integers(1, seq))
    rows = epoch(Stream(shard_of(documents), TOKENIZER, seq, 1, None, stride=stride))
    predicted = np.concatenate([targets[weights > 0] for _, targets, weights in rows])
    whole = [token for document in documents for token in (*document, TOKENIZER.bos)]
    assert predicted.tolist() == whole
    for place, (_, _, weights) in enumerate(rows[1:], start=1):
        assert not weights[:seq - stride].any(), f"row {place} counts what an earlier row has counted"


@given(documents=DOCUMENTS, seq=st.integers(1, 30))
def test_targets_follow_inputs_and_documents_stay_whole(documents, seq):
    stream = Stream(shard_of(documents), TOKENIZER, seq, 1, 3)
    stream._enter(0)
    text = np.zeros(stream._total, dtype=np.int64)
    stream._read(stream._shard.tokens, TOKENIZER.bos, 0, text)
    pieces = np.split(text, np.flatnonzero(text == TOKENIZER.bos))[1:-1]
    assert sorted(bytes(piece[1:].astype(np.uint8)) for piece in pieces) == sorted(documents)
    for inputs, targets, weights in epoch(stream):
        assert (inputs[1:] == targets[:-1])[weights[1:] > 0].all()


def test_the_order_changes_with_epoch_and_seed_and_nothing_else():
    documents = [bytes([i]) * 9 for i in range(50)]
    one, same, other = (Stream(shard_of(documents), TOKENIZER, 16, 4, seed) for seed in (1, 1, 2))
    first = [one.batch(i).inputs for i in range(2 * one.epoch_batches)]
    for i in reversed(range(len(first))):  # any order of asking
        assert torch.equal(same.batch(i).inputs, first[i])
    assert not torch.equal(other.batch(0).inputs, first[0])
    assert not torch.equal(first[0], first[one.epoch_batches])


def test_micro_batches_make_up_the_batch():
    documents = [bytes([i]) * 9 for i in range(50)]
    whole, half = (Stream(shard_of(documents), TOKENIZER, 16, rows, 1) for rows in (4, 2))
    speculator = torch.cat([half.batch(2).inputs, half.batch(3).inputs])
    assert torch.equal(whole.batch(1).inputs, speculator)


def test_batches_hold_bytes_and_ends():
    text = "naïve bytes".encode()
    stream = Stream(shard_of([text]), TOKENIZER, 6, 8, None,
                    from_tokens=lambda inputs: {"ends": inputs % 2 == 0, "n_patches": 5})
    batch = stream.batch(0)
    assert int(batch.total_bytes) == len(text)
    assert torch.equal(batch.ends, batch.inputs % 2 == 0)
    assert batch.n_patches == 5


def test_nothing_to_stream():
    with pytest.raises(ValueError, match="at least one document"):
        Stream(shard_of([b"x"]).__class__(np.empty(0, np.uint8), np.zeros(1, np.int64), 0), TOKENIZER, 4, 1, 0)
