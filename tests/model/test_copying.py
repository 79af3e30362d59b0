"""The pointer: its words, its pairs and its odds are those that their definitions name."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stlm.data.batch import Batch, Inputs
from stlm.model.checks import tokens_of
from stlm.model.copying import pointer
from stlm.model.room import few_sizes, from_tokens
from stlm.objective.causal import Causal
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


@given(keys=st.lists(st.lists(st.integers(0, 3), min_size=30, max_size=30), min_size=1, max_size=3),
       seq=st.integers(2, 30), window=st.integers(1, 40), spare=st.integers(0, 50))
def test_pairs_in_room_are_the_same_pairs(keys, seq, window, spare):
    rows = torch.tensor(keys)[:, :seq]
    whole = pointer.same_words(rows, window, seq)
    count = pointer.count_pairs(rows.numpy())
    assert count == len(pointer.same_words(rows, seq, seq)[0]) >= len(whole[0])
    row, later, earlier, used = pointer.same_words_in_room(rows, window, count + spare)
    assert all(torch.equal(found[used], expected) for found, expected in zip((row, later, earlier), whole, strict=True))
    assert torch.equal(used, torch.arange(count + spare) < len(whole[0]))
    assert all(((found >= 0) & (found < end)).all() for found, end in ((row, len(rows)), (later, seq), (earlier, seq - 1)))


def test_room_for_more_pairs_and_patches_changes_no_number():
    """Loss, figures and gradients are the same: to the last bit with more room for pairs."""
    model = small_model(("whitespace", "last", "conv", "tied", "tokens", "pointer"))
    tokens = torch.tensor([tokens_of(b"the cat saw that the cat sat then", BOS),
                           tokens_of(b"one on one, so one on two, so on.", BOS)])
    shape = tokens[:, 1:].shape
    batch = Batch(tokens[:, :-1], targets=tokens[:, 1:], weights=torch.ones(shape), counted=torch.ones(shape, dtype=torch.bool),
                  scored=torch.ones(shape, dtype=torch.bool), n_bytes=torch.ones(shape, dtype=torch.long))
    found = from_tokens(model, few=True)(batch.inputs)
    assert found["n_pairs"] > 100 and found.keys() == {"ends", "n_patches", "n_pairs"}
    assert from_tokens(model)(batch.inputs).keys() == {"ends", "n_patches"}

    def outcome(**sizes: int) -> list[torch.Tensor]:
        model.zero_grad()
        loss = Causal()(model, dataclasses.replace(batch, **{**found, "n_pairs": None, **sizes}))
        loss.total.backward()
        grads = [parameter.grad for parameter in model.parameters()]
        return [loss.total.detach(), *(part for pair in loss.metrics.values() for part in pair), *grads]
    plain = outcome()
    for n_pairs in (found["n_pairs"], 4 * found["n_pairs"] + 1):
        assert all(torch.equal(one, other) for one, other in zip(plain, outcome(n_pairs=n_pairs), strict=True))
    for one, other in zip(plain, outcome(n_patches=found["n_patches"] + 7), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        scores = [model(dataclasses.replace(batch, n_pairs=n)).logits for n in (None, found["n_pairs"])]
    torch.testing.assert_close(*scores, rtol=1e-12, atol=1e-12)


@given(n=st.integers(0, 10**7), per_octave=st.sampled_from([1, 2, 4]))
def test_few_sizes(n, per_octave):
    room = few_sizes(n, per_octave)
    assert n <= room <= max(n + 1, n + n / per_octave) and room == few_sizes(room, per_octave)
    octave = {few_sizes(size, per_octave) for size in range(65, 129)}
    assert len(octave) == per_octave
