"""How a reading becomes marks on a page: no byte is lost, and characters stay whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stlm.report.patch_marks import marks, record


def test_characters_of_several_bytes_are_one_mark():
    text = "né🎉".encode()
    tokens = record([bytes([b]) for b in text], [1.0] * len(text), [i in (1, 6) for i in range(len(text))])
    found = marks(tokens)
    assert [[mark.text for mark in patch] for patch in found] == [["n"], ["é", "🎉"]]  # the first ends within é
    n, e, emoji = (mark for patch in found for mark in patch)
    assert (n.bits, e.bits, emoji.bits) == (1.0, 2.0, 4.0) and len(emoji.each) == 4
    assert n.shade < emoji.shade <= 1


def test_patches_end_where_the_model_says():
    tokens = record([b"a", b"b", b" ", b"cd"], [1.0, 9.0, 0.5, 0.0], [False, True, True, False])
    assert [[mark.text for mark in patch] for patch in marks(tokens)] == [["a", "b"], [" "], ["cd"]]


@given(text=st.text(max_size=30))
def test_nothing_is_lost(text):
    data = text.encode()
    tokens = record([bytes([b]) for b in data], [0.25] * len(data), [i % 3 == 0 for i in range(len(data))])
    found = [mark for patch in marks(tokens) for mark in patch]
    assert "".join(mark.text for mark in found) == text
    assert sum(mark.bits for mark in found) == 0.25 * len(data)


@given(data=st.binary(max_size=30))
def test_bytes_that_are_no_text_are_shown_somehow(data):
    tokens = record([bytes([b]) for b in data], [1.0] * len(data), [True] * len(data))
    assert sum(mark.bits for patch in marks(tokens) for mark in patch) == len(data)
