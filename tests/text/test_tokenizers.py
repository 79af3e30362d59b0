"""Tokenizers are lossless for all bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stlm.errors import UserError
from stlm.text.tokenizer import bpe, subword
from stlm.text.tokenizer import bytes as byte_tokenizer

TEXT = b"The cat sat on the mat. It's 12 o'clock; the cats' mats are there.\n  Naive: na\xc3\xafve.\n" * 30
TOKENIZERS = [byte_tokenizer.Config().build(), bpe.Config(vocab_size=290).build([TEXT]),
              subword.Config(vocab_size=290, longest=6).build([TEXT])]
IDS = ["bytes", "bpe", "subword"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=IDS)
@given(data=st.binary(max_size=300))
def test_lossless(tokenizer, data):
    tokens = tokenizer.encode(data)
    assert tokenizer.decode(tokens.tolist()) == data
    assert all(0 <= token < tokenizer.vocab_size and token != tokenizer.bos for token in tokens)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=IDS)
def test_every_byte_value(tokenizer):
    data = bytes(range(256)) * 2
    assert tokenizer.decode(tokenizer.encode(data).tolist()) == data
    assert tokenizer.token_bytes[tokenizer.bos] == b""


def test_bpe_learns_from_the_text_and_survives_saving(tmp_path):
    tokenizer = TOKENIZERS[1]
    assert tokenizer.vocab_size == 290
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2
    tokenizer.save(tmp_path)
    again = bpe.Config(vocab_size=290).load(tmp_path)
    assert again.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert bpe.Config(vocab_size=290).outline().vocab_size == tokenizer.vocab_size


def test_long_texts_are_cut_without_changing_tokens():
    text = (TEXT * 20).decode("latin-1")
    pieces = list(bpe._cut(text, 1000))
    assert "".join(pieces) == text
    assert len(pieces) > 10
    whole = TOKENIZERS[1]._merges.encode(text).ids
    assert [s for piece in pieces for s in TOKENIZERS[1]._merges.encode(piece).ids] == whole


def test_a_damaged_tokenizer(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        bpe.Config().load(tmp_path)
    (tmp_path / bpe.FILE).write_text("{}")
    with pytest.raises(UserError, match="not a tokenizer file"):
        bpe.Config().load(tmp_path)


@pytest.mark.parametrize("vocabulary", [257, 2**21])
def test_impossible_vocabularies(vocabulary):
    with pytest.raises(ValueError, match="^vocab_size = .* it has to be"):
        bpe.Config(vocab_size=vocabulary)


def test_marks_stand_between_tokens():
    tokenizer, pairs = TOKENIZERS[2], TOKENIZERS[1]
    tokens = tokenizer.encode(TEXT).tolist()
    pieces = [b""]
    for token in tokens:
        if token == tokenizer.mark:
            pieces.append(b"")
        else:
            pieces[-1] += tokenizer.token_bytes[token]
    expected = []
    for token in pairs.encode(TEXT).tolist():
        piece = pairs.token_bytes[token]
        expected += [piece[i:i + 6] for i in range(0, len(piece), 6)]
    assert pieces == expected
    assert max(map(len, pieces)) == 6
    assert tokenizer.encode(b"").tolist() == []
    assert tokenizer.mark not in tokenizer.encode(b"x").tolist()


def test_subwords_survive_saving(tmp_path):
    tokenizer = TOKENIZERS[2]
    tokenizer.save(tmp_path)
    config = subword.Config(vocab_size=290, longest=6)
    assert config.load(tmp_path).encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert config.outline().vocab_size == tokenizer.vocab_size
