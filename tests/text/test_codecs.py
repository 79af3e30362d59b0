"""Codecs are lossless for all bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stlm.errors import UserError
from stlm.text.codec import bpe, subword
from stlm.text.codec import bytes as byte_codec

TEXT = b"The cat sat on the mat. It's 12 o'clock; the cats' mats are there.\n  Naive: na\xc3\xafve.\n" * 30
CODECS = [byte_codec.Config().build(), bpe.Config(vocabulary=290).build([TEXT]),
          subword.Config(vocabulary=290, longest=6).build([TEXT])]
IDS = ["bytes", "bpe", "subword"]


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
@given(data=st.binary(max_size=300))
def test_lossless(codec, data):
    symbols = codec.encode(data)
    assert codec.decode(symbols.tolist()) == data
    assert all(0 <= symbol < codec.n_symbols and symbol != codec.document for symbol in symbols)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_every_byte_value(codec):
    data = bytes(range(256)) * 2
    assert codec.decode(codec.encode(data).tolist()) == data
    assert codec.symbol_bytes[codec.document] == b""


def test_bpe_learns_from_the_text_and_survives_saving(tmp_path):
    codec = CODECS[1]
    assert codec.n_symbols == 290
    assert len(codec.encode(TEXT)) < len(TEXT) / 2
    codec.save(tmp_path)
    again = bpe.Config(vocabulary=290).load(tmp_path)
    assert again.encode(TEXT).tolist() == codec.encode(TEXT).tolist()
    assert bpe.Config(vocabulary=290).outline().n_symbols == codec.n_symbols


def test_long_texts_are_cut_without_changing_symbols():
    text = (TEXT * 20).decode("latin-1")
    pieces = list(bpe._cut(text, 1000))
    assert "".join(pieces) == text
    assert len(pieces) > 10
    whole = CODECS[1]._tokenizer.encode(text).ids
    assert [s for piece in pieces for s in CODECS[1]._tokenizer.encode(piece).ids] == whole


def test_a_damaged_tokenizer(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        bpe.Config().load(tmp_path)
    (tmp_path / bpe.FILE).write_text("{}")
    with pytest.raises(UserError, match="not a tokenizer file"):
        bpe.Config().load(tmp_path)


@pytest.mark.parametrize("vocabulary", [257, 2**21])
def test_impossible_vocabularies(vocabulary):
    with pytest.raises(ValueError, match="has to lie between"):
        bpe.Config(vocabulary=vocabulary)


def test_marks_stand_between_tokens():
    codec, tokens = CODECS[2], CODECS[1]
    symbols = codec.encode(TEXT).tolist()
    pieces = [b""]
    for symbol in symbols:
        if symbol == codec.mark:
            pieces.append(b"")
        else:
            pieces[-1] += codec.symbol_bytes[symbol]
    expected = []
    for symbol in tokens.encode(TEXT).tolist():
        token = tokens.symbol_bytes[symbol]
        expected += [token[i:i + 6] for i in range(0, len(token), 6)]
    assert pieces == expected
    assert max(map(len, pieces)) == 6
    assert codec.encode(b"").tolist() == []
    assert codec.mark not in codec.encode(b"x").tolist()


def test_subwords_survive_saving(tmp_path):
    codec = CODECS[2]
    codec.save(tmp_path)
    config = subword.Config(vocabulary=290, longest=6)
    assert config.load(tmp_path).encode(TEXT).tolist() == codec.encode(TEXT).tolist()
    assert config.outline().n_symbols == codec.n_symbols
