"""Corpora on disk: complete or not there, and lossless."""

from __future__ import annotations

import pytest

from stlm.data.shards import prepare
from stlm.data.sources import open_source
from stlm.errors import UserError
from stlm.text.codec import bpe
from stlm.text.codec import bytes as byte_codec

TEXT = b"Some words that come again and again, 123 times. " * 60


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT + bytes(range(256)))
    return open_source(str(path))


@pytest.mark.parametrize("codec", [byte_codec.Config(), bpe.Config(vocabulary=280)], ids=["bytes", "bpe"])
def test_text_survives(source, codec, tmp_path):
    corpus = prepare(source, codec, tmp_path / "cache")
    for shard, split in ((corpus.train, "train"), (corpus.validation, "validation")):
        documents = list(source.documents(split))
        assert list(shard.documents(corpus.codec)) == documents
        assert shard.n_bytes == sum(map(len, documents))
    assert corpus.entropy_bits is None


def test_it_is_written_once(source, tmp_path):
    told = []
    first = prepare(source, byte_codec.Config(), tmp_path / "cache", lambda split, n: told.append(n))
    second = prepare(source, byte_codec.Config(), tmp_path / "cache", lambda split, n: told.append(n))
    assert first.fingerprint == second.fingerprint
    assert sum(told) == len(TEXT) + 256
    assert [path.name for path in (tmp_path / "cache" / "corpora").iterdir()] == [first.fingerprint]
    assert prepare(source, bpe.Config(vocabulary=280), tmp_path / "cache").fingerprint != first.fingerprint


def test_an_interrupted_writing_leaves_nothing(source, tmp_path):
    def interrupt(split, n):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        prepare(source, byte_codec.Config(), tmp_path / "cache", interrupt)
    assert not list((tmp_path / "cache" / "corpora").iterdir())


def test_damage_is_found(source, tmp_path):
    corpus = prepare(source, byte_codec.Config(), tmp_path / "cache")
    path = tmp_path / "cache" / "corpora" / corpus.fingerprint / "train.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="a damaged corpus .* delete that folder and run again"):
        prepare(source, byte_codec.Config(), tmp_path / "cache")


def test_a_folder_that_cannot_be_written(source, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cannot be written: .*; set STLM_CACHE to a folder with room"):
        prepare(source, byte_codec.Config(), tmp_path / "cache")


def test_the_built_in_corpus_knows_its_entropy(tmp_path):
    corpus = prepare(open_source("world", megabytes=0.01), byte_codec.Config(), tmp_path)
    assert 0.4 < corpus.entropy_bits / corpus.validation.n_bytes < 0.43
