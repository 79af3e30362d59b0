"""Corpora on disk: complete or not there, and lossless."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stlm.data.shards import Shard, prepare
from stlm.data.sources import open_source
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.text.tokenizer.bytes import ByteTokenizer

TEXT = b"Some words that come again and again, 123 times. " * 60


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT + bytes(range(1, 256)))
    return open_source(str(path))


@pytest.mark.parametrize("tokenizer", [byte_tokenizer.Config(), bpe.Config(vocab_size=280)], ids=["bytes", "bpe"])
def test_text_survives(source, tokenizer, tmp_path):
    corpus = prepare(source, tokenizer, [tmp_path / "cache"])
    for shard, split in ((corpus.train, "train"), (corpus.validation, "validation")):
        documents = list(source.documents(split))
        assert list(shard.documents(corpus.tokenizer)) == documents
        assert shard.n_bytes == sum(map(len, documents))
    assert corpus.entropy_bits is None


def test_it_is_written_once(source, tmp_path):
    told = []
    def told_of_splits(doing, n_bytes):
        told.extend([n_bytes] if doing in ("train", "validation") else [])
    first = prepare(source, byte_tokenizer.Config(), [tmp_path / "cache"], told_of_splits)
    second = prepare(source, byte_tokenizer.Config(), [tmp_path / "cache"], told_of_splits)
    assert first.contents == second.contents
    assert sum(told) == len(TEXT) + 255
    assert len(list((tmp_path / "cache" / "corpora").iterdir())) == 1
    assert prepare(source, bpe.Config(vocab_size=280), [tmp_path / "cache"]).contents != first.contents
    assert len(list((tmp_path / "cache" / "corpora").iterdir())) == 2


def test_contents_are_of_the_text_to_train_on_wherever_it_lies(tmp_path):
    def contents(folder: str, *texts: str) -> str:
        for split, text in zip(("train", "validation"), texts, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{split}.txt").write_text(text * 200)
        return prepare(open_source(str(tmp_path / folder)), byte_tokenizer.Config(), [tmp_path / "cache"]).contents
    first = contents("here", "some text", "held out")
    assert contents("there", "some text", "held out") == first
    assert contents("there", "some text", "another") == first
    assert contents("there", "other text", "held out") != first


def test_an_interrupted_writing_leaves_nothing(source, tmp_path):
    def interrupt(doing, n):
        if doing == "train":
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        prepare(source, byte_tokenizer.Config(), [tmp_path / "cache"], interrupt)
    assert not list((tmp_path / "cache" / "corpora").rglob("*.*"))


def test_the_built_in_corpus_knows_its_entropy(tmp_path):
    corpus = prepare(open_source("world", megabytes=0.01), byte_tokenizer.Config(), [tmp_path])
    assert 0.4 < corpus.entropy_bits / corpus.validation.n_bytes < 0.43


def test_the_beginning_of_a_text():
    tokenizer = ByteTokenizer()
    shard = Shard.of([b"abc", b"defgh", b"ij"], tokenizer)
    shard = dataclasses.replace(shard, columns={"number": np.arange(10)})
    for size, texts in ((3, [b"abc"]), (5, [b"abc", b"de"]), (8, [b"abc", b"defgh"]), (99, [b"abc", b"defgh", b"ij"])):
        found = shard.beginning(size, tokenizer)
        assert list(found.documents(tokenizer)) == texts and found.n_bytes == min(size, 10)
        assert found.columns["number"].tolist() == list(range(min(size, 10)))
