"""Hashed n-grams: the rows are those of the n-grams that the definition names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.model.embedding import ngrams
from stlm.model.layout import places
from stlm.text.codec.bytes import ByteCodec

DOCUMENT = 256
ORDERS, WORDS = (2, 3, 5), 2


@pytest.fixture(scope="module")
def embedding():
    return ngrams.Config(orders=ORDERS, words=WORDS, rows=1 << 20).build(1, ByteCodec())


def words_of(symbols: list[int]) -> list[int]:
    """The number of the word that each symbol of a document stands in: one ends at the first space-like after others."""
    numbers, number, before = [], 0, True
    for place, symbol in enumerate(symbols):
        numbers.append(number)
        space = not (bytes([symbol]).isalnum() or 0x80 <= symbol <= 0xBF) if symbol != DOCUMENT else True
        number += (space and not before) or (space and place == 0)
        before = space
    return numbers


def spans(symbols: list[int]) -> list[list[tuple[int, ...]]]:
    """What is hashed at each symbol of one document, written out."""
    numbers, found = words_of(symbols), []
    for t in range(len(symbols)):
        here = [tuple(symbols[max(0, t - n + 1):t + 1]) for n in ORDERS]
        for back in range(WORDS):
            inside = [i for i in range(t + 1) if numbers[i] >= numbers[t] - back and i > t - ngrams.LONGEST]
            here.append(tuple(symbols[i] for i in inside))
        found.append(here)
    return found


@given(documents=st.lists(st.text("ab ,é", min_size=1, max_size=40), min_size=1, max_size=3))
def test_equal_rows_mean_equal_ngrams(embedding, documents):
    split = [[DOCUMENT, *text.encode()] for text in documents]
    expected = [here for symbols in split for here in spans(symbols)]
    row = torch.tensor([[symbol for symbols in split for symbol in symbols]])
    found = embedding.rows_of(row, places(row == DOCUMENT)[0])[0].tolist()
    for which in range(len(ORDERS) + WORDS):
        table: dict[tuple[int, ...], int] = {}
        for here, rows in zip(expected, found, strict=True):
            assert table.setdefault(here[which], rows[which]) == rows[which]
        assert len(set(table.values())) == len(table)  # a million rows: no collision among so few
        assert all(which << 20 <= value < (which + 1) << 20 for value in table.values())


def test_settings_that_make_no_sense():
    for wrong in ({"orders": (1,)}, {"orders": (), "words": 0}, {"orders": (99,)}, {"rows": 0}):
        with pytest.raises(ValueError):
            ngrams.Config(**wrong)
