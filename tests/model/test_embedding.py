"""Hashed n-grams: the rows are those of the n-grams that the definition names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.model.embedding import ngrams
from stlm.model.layout import places

DOCUMENT = 256
ORDERS = (2, 3, 5)


@given(documents=st.lists(st.text("ab ,é", min_size=1, max_size=40), min_size=1, max_size=3))
def test_equal_rows_mean_equal_ngrams(documents):
    """Each symbol's rows are those of the last n symbols of its document, written out."""
    with torch.device("meta"):
        embedding = ngrams.NGrams(1, ORDERS, 2**30)
    embedding.reach = torch.tensor(ORDERS) - 1
    split = [[DOCUMENT, *text.encode()] for text in documents]
    row = torch.tensor([[symbol for symbols in split for symbol in symbols]])
    found = embedding.rows_of(row, places(row == DOCUMENT)[0])[0].tolist()
    expected = [(n, tuple(symbols[max(0, t - n + 1):t + 1])) for symbols in split for t in range(len(symbols)) for n in ORDERS]
    flat = [number for numbers in found for number in numbers]
    row_of: dict[tuple[int, tuple[int, ...]], int] = {}
    for ngram, number in zip(expected, flat, strict=True):
        assert row_of.setdefault(ngram, number) == number
    assert len(set(row_of.values())) == len(row_of)  # of 2^30 rows: no collision among so few


def test_settings_that_make_no_sense():
    for wrong in ({"orders": (1,)}, {"orders": ()}, {"rows": 0}):
        with pytest.raises(ValueError):
            ngrams.Config(**wrong)
