"""Hashed n-grams: the rows are those of the n-grams that the definition names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.model.embedding import ngrams, recall
from stlm.model.layout import segment_positions

pytestmark = pytest.mark.shapes

BOS = 256
ORDERS = (2, 3, 5)


@given(documents=st.lists(st.text("ab ,é", min_size=1, max_size=40), min_size=1, max_size=3))
def test_equal_rows_mean_equal_ngrams(documents):
    """Each token's rows are those of the last n tokens of its document, written out."""
    with torch.device("meta"):
        embedding = ngrams.NGrams(1, ngrams.Config(ORDERS, rows=2**30))
    embedding.reach = torch.tensor(ORDERS) - 1
    split = [[BOS, *text.encode()] for text in documents]
    row = torch.tensor([[token for tokens in split for token in tokens]])
    found = embedding.rows_of(row, segment_positions(row == BOS)[0], row.shape[1])[0].tolist()
    expected = [(n, tuple(tokens[max(0, t - n + 1):t + 1])) for tokens in split for t in range(len(tokens)) for n in ORDERS]
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
    row = torch.tensor([[token for text in documents for token in [BOS, *text.encode()]]])
    numbers, seq = segment_positions(row == BOS)[0], min(seq, row.shape[1])
    tokens, owners = row[0].tolist(), numbers[0].tolist()
    expected = []
    for t in range(len(tokens)):
        ends = [[s for s in range(max(n - 1, t - window), t) if tokens[s - n + 1:s + 1] == tokens[t - n + 1:t + 1]
                 and owners[s - n + 1] == owners[t] and t - n + 1 >= 0] for n in matches]
        expected.append([max(found, default=-1) for found in ends])
    assert recall.last_occurrences(row, numbers, matches, window, seq)[0].tolist() == expected[-seq:]
    assert recall.last_occurrences(row, numbers, matches, window, 1)[0].tolist() == expected[-1:]
