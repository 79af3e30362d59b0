"""Tokenizers are lossless for all bytes."""

from __future__ import annotations

import tracemalloc

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
    text = TEXT * 20
    pieces = list(bpe.cut(text, 1000))
    assert b"".join(pieces) == text
    assert len(pieces) > 10
    whole = TOKENIZERS[1]._merges.encode(text.decode("latin-1")).ids
    assert [s for piece in pieces for s in TOKENIZERS[1].encode(piece).tolist()] == whole


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


LONG = {"letters": b"ACGTTGCA" * 4000, "digits": b"0123456789" * 3000, "signs": b"=-" * 15_000, "spaces": b" \t" * 15_000,
        "characters": "日本語の文".encode() * 2000, "no characters": b"\x80\xbf" * 15_000, "one letter": b"a" * 30_000,
        "a note beside": b"once " + b"x" * 30_000 + b" upon"}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_words_are_cut_alike_for_learning_and_for_encoding(text):
    tokenizer = bpe.Config(vocab_size=600).build([text])
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text
    assert max(map(len, tokenizer.token_bytes)) <= bpe.LONGEST + 1  # and a space before it
    assert len(tokenizer.encode(text)) < len(text) / 40  # pieces that were learned from are found again


UNBOUNDED = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z\x{80}-\x{ff}]+| ?[0-9]+| ?[^\sA-Za-z0-9\x{80}-\x{ff}]+|\s+(?!\S)|\s+"


@given(st.text(st.sampled_from("ab 12.,'st\n\té日à\x80\xff\xa0\x85-"), max_size=80).map(str.encode) | st.binary(max_size=99))
def test_the_bound_changes_nothing_where_no_word_reaches_it(text):
    from tokenizers import Regex, pre_tokenizers

    parts = [pre_tokenizers.Split(Regex(pattern), behavior="isolated").pre_tokenize_str(text.decode("latin-1"))
             for pattern in (UNBOUNDED, bpe._PIECES)]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("words", [["na\u00efve", " caf\u00e9"], ["\u00e0", " la", " carte", "."],
                                   ["\u0420\u0435\u043a\u0430", " 12"],
                                   ["\u65e5\u672c\u8a9e", "!"], ["don", "'t"]], ids=str)
def test_words_of_every_script_stay_together(words):
    from tokenizers import Regex, pre_tokenizers

    text = "".join(words).encode().decode("latin-1")
    pieces = pre_tokenizers.Split(Regex(bpe._PIECES), behavior="isolated").pre_tokenize_str(text)
    assert [piece.encode("latin-1").decode() for piece, _ in pieces] == words


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=IDS)
@pytest.mark.parametrize("text", [TEXT * 300, b"x" * 900_000, bytes(range(256)) * 3000])
def test_memory_is_a_few_times_the_text(tokenizer, text):
    tokenizer.encode(TEXT)
    tracemalloc.start()
    try:
        tokens = tokenizer.encode(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tokenizer.decode(tokens.tolist()) == text
    assert peak < 3 * tokens.nbytes + 60 * bpe.PIECE  # the second is the room for one piece
