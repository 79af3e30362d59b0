"""The pointer: its words, its pairs and its odds are those that their definitions name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.data.batch import Inputs
from stlm.model.checks import tokens_of
from stlm.model.copying import pointer
from tests.conftest import small_model

pytestmark = pytest.mark.shapes

BOS = 256


@given(data=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=40), cut=st.integers(0, 40))
def test_equal_hashes_mean_equal_words_so_far(data, cut):
    """Also where the tokens come in two pieces."""
    tokens, ends = (torch.tensor([column]) for column in zip(*data, strict=True))
    whole = pointer.words_so_far(tokens, ends, None)
    first = pointer.words_so_far(tokens[:, :cut], ends[:, :cut], None)[:, -1:] if cut else None
    rest = pointer.words_so_far(tokens[:, cut:], ends[:, cut:], first)
    assert torch.equal(whole[:, cut:], rest)
    word: tuple[int, ...] = ()
    word_of: dict[int, tuple[int, ...]] = {}
    for (token, end), hashed in zip(data, whole[0].tolist(), strict=True):
        word = () if end else (*word, token)
        assert word_of.setdefault(hashed, word) == word
    assert len(set(word_of.values())) == len(word_of)


@given(keys=st.lists(st.lists(st.integers(0, 3), min_size=30, max_size=30), min_size=1, max_size=3),
       total=st.integers(1, 30), seq=st.integers(1, 30), window=st.integers(1, 20))
def test_pairs_are_those_found_one_by_one(keys, total, seq, window):
    rows, seq = torch.tensor(keys)[:, :total], min(seq, total)
    expected = [(b, i - (total - seq), p) for b, row in enumerate(rows.tolist()) for i in range(total - seq, total)
                for p in range(max(0, i - window), i) if row[i] == row[p]]
    found = pointer.same_words(rows, window, seq)
    assert sorted(zip(*(part.tolist() for part in found), strict=True)) == expected


@given(texts=st.lists(st.binary(min_size=1, max_size=4).map(lambda text: bytes(97 + byte % 5 for byte in text)), min_size=2,
                      max_size=6))
def test_words_of_two_documents_never_meet(texts):
    """Each document behind the others, and alone: first letters that differ as their documents' numbers do are no likeness."""
    model = small_model(("whitespace", "last", "conv", "tied", "tokens", "pointer"), layers=1)
    packed = torch.tensor([[token for text in texts for token in tokens_of(text, BOS)]])
    with torch.no_grad():
        whole = model(Inputs(packed)).logits[0]
        alone = [model(Inputs(torch.tensor([tokens_of(text, BOS)]))).logits[0] for text in texts]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_a_word_that_was_read_is_likelier_than_before():
    """A model that knows nothing but its pointer completes a name that stands earlier in the document."""
    model = small_model(("whitespace", "last", "conv", "tied", "tokens", "pointer"))
    with torch.no_grad():
        model.table.zero_()  # all tokens are equally likely
        model.copying.gate.zero_()
        model.copying.bias.fill_(3.0)
        rows = torch.tensor([tokens_of(b"Ada met Bob. A", BOS)])
        following = model(Inputs(rows)).logits[0, -1].softmax(-1)
    assert following.argmax() == ord("d")


def test_a_row_that_starts_late_starts_its_first_word_anew():
    """Its first piece is empty, and its first word comes again."""
    model = small_model(("whitespace", "last", "conv", "tied", "tokens", "pointer"))
    rows = torch.tensor([tokens_of(b"On and on", BOS), list(b"Ada and Ada")[:10]])
    whole = model(Inputs(rows)).logits
    cache = model.new_cache(2)
    model(Inputs(rows[:, :2], lengths=torch.tensor([2, 0])), cache)
    late = model(Inputs(rows[1:].expand(2, -1), lengths=torch.tensor([0, 10])), cache).logits
    torch.testing.assert_close(late[1], whole[1], rtol=1e-9, atol=1e-9)


def test_settings_that_make_no_sense():
    for wrong in ({"dim": 0}, {"window": 0}):
        with pytest.raises(ValueError):
            pointer.Config(**wrong)
