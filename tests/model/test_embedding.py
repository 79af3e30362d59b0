"""Hashed n-grams: the rows are those of the n-grams that the definition names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.model.embedding import ngrams, recall
from stlm.model.layout import places

pytestmark = pytest.mark.shapes

DOCUMENT = 256
ORDERS = (2, 3, 5)


@given(documents=st.lists(st.text("ab ,é", min_size=1, max_size=40), min_size=1, max_size=3))
def test_equal_rows_mean_equal_ngrams(documents):
    """Each symbol's rows are those of the last n symbols of its document, written out."""
    with torch.device("meta"):
        embedding = ngrams.NGrams(1, ngrams.Config(ORDERS, rows=2**30))
    embedding.reach = torch.tensor(ORDERS) - 1
    split = [[DOCUMENT, *text.encode()] for text in documents]
    row = torch.tensor([[symbol for symbols in split for symbol in symbols]])
    found = embedding.rows_of(row, places(row == DOCUMENT)[0], row.shape[1])[0].tolist()
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
    for wrong in ({"matches": ()}, {"matches": (0,)}, {"window": 0}):
        with pytest.raises(ValueError):
            recall.Config(**wrong)


@given(documents=st.lists(st.text("ab", max_size=30), min_size=1, max_size=3), window=st.integers(1, 20),
       matches=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), seq=st.integers(1, 40))
def test_the_last_occurrence_is_the_last_one(documents, matches, window, seq):
    """Both ways of looking agree with looking one by one."""
    row = torch.tensor([[symbol for text in documents for symbol in [DOCUMENT, *text.encode()]]])
    numbers, seq = places(row == DOCUMENT)[0], min(seq, row.shape[1])
    symbols, owners = row[0].tolist(), numbers[0].tolist()
    expected = []
    for t in range(len(symbols)):
        ends = [[s for s in range(max(n - 1, t - window), t) if symbols[s - n + 1:s + 1] == symbols[t - n + 1:t + 1]
                 and owners[s - n + 1] == owners[t] and t - n + 1 >= 0] for n in matches]
        expected.append([max(found, default=-1) for found in ends])
    assert recall.last_occurrences(row, numbers, matches, window, seq)[0].tolist() == expected[-seq:]
    assert recall.last_occurrences(row, numbers, matches, window, 1)[0].tolist() == expected[-1:]
