"""A cached corpus is the text that was asked for, whole, whatever happened to it; and there is always somewhere to keep it."""

from __future__ import annotations

import gzip
import json
import os
import pwd
import shutil
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.cli.conftest import TINY

from stlm.cli import runs
from stlm.cli.console import Console
from stlm.config.files import load
from stlm.data import cache, shards
from stlm.data.concat import open_sources
from stlm.data.shards import RECORD, SCRATCH, Corpus, add_column, prepare
from stlm.errors import UserError
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.train.compiling import compile_step
from stlm.train.presets import PRESETS

TEXT = b"Some words that come again and again, 123 times. " * 60
BYTES, PAIRS = byte_tokenizer.Config(), bpe.Config(vocab_size=280)


class Cached:
    """A text, a cache, and how often the text was written to it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.cache, self.written = folder / "text.txt", folder / "cache", 0
        self.path.write_bytes(TEXT)

    def open(self, tokenizer=BYTES, during=lambda doing: None) -> Corpus:
        def progress(doing: str, n_bytes: int) -> None:
            self.written += doing == "train"
            during(doing)
        return prepare(open_sources(str(self.path)), tokenizer, [self.cache], progress)

    @property
    def folder(self) -> Path:
        [found] = (self.cache / "corpora").iterdir()
        return found


@pytest.fixture
def cached(tmp_path) -> Cached:
    return Cached(tmp_path)


def text_of(corpus: Corpus) -> bytes:
    return b"".join(d for shard in (corpus.train, corpus.validation) for d in shard.documents(corpus.tokenizer))


# what identifies a text is its content

def same_length(data: bytes) -> bytes:
    return data.replace(b"again", b"never")


@pytest.mark.parametrize("how", ["a file", "a folder", "packed", "jsonl", "several", "validation alone"])
def test_another_text_of_the_same_size_and_time_is_another_text(tmp_path, how):
    place, name, pack = tmp_path / "in", "train.txt", bytes
    spec = {"a file": place / name, "several": f"{place / name},{place / 'b.txt'}"}.get(how, place)
    if how == "packed":
        name, pack = "train.txt.gz", lambda data: gzip.compress(data, compresslevel=0, mtime=0)
    if how == "jsonl":
        name, pack = "train.jsonl", lambda data: json.dumps({"text": data.decode()}).encode()
    if how == "validation alone":
        name = "validation.txt"
    seen = []
    for text in (TEXT, same_length(TEXT), TEXT):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for file, data in (("b.txt", b"another text " * 100), (name, pack(text))):
            (place / file).write_bytes(data)
            os.utime(place / file, ns=(1, 1))
        corpus = prepare(open_sources(str(spec)), BYTES, [tmp_path / "cache"])
        assert (b"never" in text_of(corpus)) == (b"never" in text)
        seen.append(corpus.folder)
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize("touch", [
    lambda path: os.utime(path, (1, 1)),
    lambda path: (path.write_bytes(path.read_bytes())),
    lambda path: path.with_name("copy").write_bytes(path.read_bytes()) and path.with_name("copy").replace(path),
], ids=["its time", "written again", "another inode"])
def test_the_same_text_is_written_once_whatever_its_time(cached, touch):
    cached.open()
    touch(cached.path)
    cached.open()
    assert cached.written == 1


@pytest.mark.parametrize("change", [lambda text: text + b"!", lambda text: same_length(text), lambda text: text[:1500]])
def test_a_text_that_changes_while_it_is_read_is_refused(cached, change):
    with pytest.raises(UserError, match=r"file text.txt: this text was changed while it was read; run again"):
        cached.open(during=lambda doing: doing == "train" and cached.path.write_bytes(change(TEXT)))
    assert not list(cached.folder.iterdir())
    assert text_of(cached.open()) == change(TEXT)


# a corpus is whole or written anew

def changed(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:])


DAMAGE = {
    "deleted": Path.unlink, "empty": lambda path: path.write_bytes(b""), "zeros": lambda path: path.write_bytes(b"\0" * 4096),
    "shorter": lambda path: os.truncate(path, path.stat().st_size - 1), "one bit": changed,
    "longer": lambda path: path.write_bytes(path.read_bytes() * 2), "no json": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", [RECORD, "train.bin", "validation.bin", "train.starts.npy", "validation.starts.npy", bpe.FILE])
def test_a_damaged_corpus_is_written_anew(cached, name, damage):
    before = cached.open(PAIRS)
    damage(cached.folder / name)
    after = cached.open(PAIRS)
    assert text_of(after) == TEXT and after.contents == before.contents
    assert cached.written == 2
    assert text_of(cached.open(PAIRS)) == TEXT and cached.written == 2


@pytest.mark.parametrize("record", [
    "[]", "3", "null", '{"sum": 1}', '{"train": {}, "sum": "x"}', "[" * 10_000, '{"files": {"../../x": "y"}, "sum": ""}'])
def test_a_record_of_another_version_is_no_corpus(cached, record):
    cached.open()
    (cached.folder / RECORD).write_text(record)
    assert text_of(cached.open()) == TEXT and cached.written == 2


def test_figures_of_a_record_are_under_its_sum(cached):
    cached.open()
    record = json.loads((cached.folder / RECORD).read_text())
    record["train"]["bytes"] += 1
    (cached.folder / RECORD).write_text(json.dumps(record))
    assert cached.open().train.n_bytes + cached.open().validation.n_bytes == len(TEXT)


def test_an_emptied_folder_is_filled(cached):
    cached.open()
    for path in cached.folder.iterdir():
        path.unlink()
    assert text_of(cached.open()) == TEXT


def test_who_reads_a_corpus_keeps_it_while_it_is_written_anew(cached):
    """Written to in place, the file would be changed or cut under the reader: other tokens, or the end of the process."""
    reader = cached.open()
    (cached.folder / "validation.bin").unlink()
    before = (cached.folder / "train.bin").stat().st_ino
    cached.open()
    assert (cached.folder / "train.bin").stat().st_ino != before
    assert text_of(reader) == TEXT
    shutil.rmtree(cached.cache)
    assert text_of(reader) == TEXT


def test_columns_stay_when_a_corpus_is_mended(cached):
    corpus = cached.open()
    add_column(corpus, "train", "weight", np.arange(len(corpus.train.tokens)))
    (cached.folder / "train.starts.npy").unlink()
    assert cached.open().train.columns["weight"][5] == 5


@pytest.mark.parametrize("doing", ["checking", "tokenizer", "train", "validation"])
def test_two_writers_at_once_both_have_a_whole_corpus(cached, doing):
    others = []

    def meanwhile(now: str) -> None:
        if now == doing and not others:
            others.append(prepare(open_sources(str(cached.path)), PAIRS, [cached.cache]))
    mine = cached.open(PAIRS, meanwhile)
    assert text_of(mine) == text_of(others[0]) == TEXT
    assert mine.contents == others[0].contents
    assert {path.name for path in (cached.cache / "corpora").iterdir()} == {cached.folder.name}


def test_many_writers_at_once(cached):
    found = []
    threads = [threading.Thread(target=lambda: found.append(text_of(cached.open(PAIRS)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [TEXT] * 6


def test_what_a_killed_writer_left_is_deleted_after_a_day(cached):
    old, new = (cached.cache / "corpora" / f"{SCRATCH}{name}" for name in ("old", "new"))
    for scratch in (old, new):
        scratch.mkdir(parents=True)
        (scratch / "train.bin").write_bytes(b"x")
    for path in (old / "train.bin", old):
        os.utime(path, (time.time() - shards.ABANDONED - 9,) * 2)
    cached.open()
    assert not old.exists() and new.exists()


# somewhere to keep it

@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user without a home and a name. Temporary files lie in a folder of their own."""
    for name in ("STLM_CACHE", "XDG_CACHE_HOME", "HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary" / f"stlm-{os.getuid()}"


def test_without_a_home_there_is_a_temporary_folder(homeless, cached):
    assert cache.cache_folders() == [homeless]
    corpus = prepare(open_sources(str(cached.path)), BYTES, cache.cache_folders())
    assert cache.is_temporary(corpus.folder) and corpus.folder.is_relative_to(homeless)


@pytest.mark.parametrize("home", ["a file", "gone below a file"])
def test_a_home_that_cannot_be_written(homeless, cached, monkeypatch, tmp_path, home):
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / ("" if home == "a file" else "deeper")))
    assert len(cache.cache_folders()) == 2
    assert prepare(open_sources(str(cached.path)), BYTES, cache.cache_folders()).folder.is_relative_to(homeless)


def test_a_cache_that_is_shut_is_read_and_another_one_written(homeless, cached, monkeypatch, tmp_path):
    """A home may be read-only on the machines where a cluster trains, and hold what was written elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = tmp_path / ".cache" / "stlm"
    assert prepare(open_sources(str(cached.path)), BYTES, cache.cache_folders()).folder.is_relative_to(usual)
    make = tempfile.TemporaryFile

    def refuse(*arguments, dir=None, **options):
        if Path(dir).is_relative_to(usual):
            raise OSError(30, "Read-only file system")
        return make(*arguments, dir=dir, **options)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert prepare(open_sources(str(cached.path)), BYTES, cache.cache_folders()).folder.is_relative_to(usual)
    assert prepare(open_sources(str(cached.path)), PAIRS, cache.cache_folders()).folder.is_relative_to(homeless)


def test_a_temporary_folder_of_somebody_else_is_not_taken(homeless):
    homeless.symlink_to("/")
    assert cache.temporary_folder() != homeless and cache.temporary_folder().name.startswith("stlm-")


def test_a_cache_that_was_named_is_taken_or_refused(homeless, cached, monkeypatch, tmp_path):
    monkeypatch.setenv("STLM_CACHE", str(cached.path))
    with pytest.raises(UserError, match=r"text.txt: the cache cannot be written \(File exists\); set STLM_CACHE to a folder"):
        prepare(open_sources(str(cached.path)), BYTES, cache.cache_folders())
    monkeypatch.setenv("HOME", str(tmp_path))
    for named, folder in (("~/mine", tmp_path / "mine"), ("", tmp_path / ".cache" / "stlm")):
        monkeypatch.setenv("STLM_CACHE", named)
        assert cache.cache_folders()[0] == folder
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to ignore it
    assert cache.cache_folders() == [homeless]


def test_a_full_disk_is_named(cached, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"No space left on device\); set STLM_CACHE to a folder with room"):
        cached.open()
    assert not list(cached.folder.iterdir())


def test_a_user_without_home_is_told_where_the_text_is_kept(homeless, cached, monkeypatch, capsys):
    (cached.path.parent / "tiny.toml").write_text(TINY.replace("megabytes", f"source = {str(cached.path)!r}\nmegabytes"))
    corpus = runs.open_corpus(load(str(cached.path.parent / "tiny.toml"), PRESETS), Console())
    said = capsys.readouterr().err
    assert text_of(corpus) == TEXT
    assert f"this text is kept in {homeless}/corpora; set STLM_CACHE to a folder that lasts" in said


def test_compiled_code_is_kept_where_corpora_are(homeless, monkeypatch):
    """PyTorch's own choice of a folder asks for the user's name."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it's put back at the end
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compile_step(SimpleNamespace(model=torch.nn.Linear(1, 1)), "blocks")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(homeless / "compiled")
