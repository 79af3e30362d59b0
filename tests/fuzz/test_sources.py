"""Odd files and folders as text: nothing hangs, nothing ends in a traceback, and what is read is what the source holds."""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import os
import random
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pyarrow as pa
import pytest
import zstandard
from hypothesis import event, given
from hypothesis import strategies as st
from pyarrow import parquet

from stlm.cli import runs
from stlm.data.shards import SPLITS, Corpus
from stlm.evaluate.texts import HeldOut, Texts
from stlm.train.run_config import RunConfig
from stlm.train.text import open_text
from tests.cli.conftest import TINY
from tests.fuzz.watch import call, examples

T = TypeVar("T")
TEXT = "".join(f"{n}: the heron waited for Zoë's boat, 日本. " + "\r\n" * (n % 3) for n in range(60))
BPE = ["--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", "280", "--model.patching", "stride"]


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def table(**columns: object) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt", data)
    return file.getvalue()


RECORDS = [{"text": f"{n} {TEXT[:90]}", "story": f"{n} and another {TEXT[:60]}"} for n in range(70)]
ODD_RECORDS = [{"text": None}, {"text": ""}, {}, {"text": 3}, {"text": "\ud800"}, None, [], "text", 3, {"text": "\0\ufeff"}]
PLAIN = [TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), TEXT.encode("utf-16-le"), TEXT.encode("utf-32"),
         TEXT.encode("latin-1", "replace"), b"", b"short", b"\0" * 3000, bytes(range(256)) * 8, b"\xff\xfe", b"\xef\xbb\xbf",
         TEXT.encode("utf-16")[:-1], b"\n" * 2000, b"a" * 9000 + b"\0"]
LINES = [lines(*RECORDS), lines(*RECORDS[:3]), b"\xef\xbb\xbf" + lines(*RECORDS), lines(*RECORDS).decode().encode("utf-16"),
         *(lines(*RECORDS, odd) for odd in ODD_RECORDS), b"{", b"\n\n", b"[" * 5000, lines(*ODD_RECORDS)]
TABLES = [table(text=[record["text"] for record in RECORDS]), table(text=[None] * 70), table(text=range(70)), table(),
          table(text=pa.array([], pa.string())), table(story=["a story " * 30] * 70), table(text=[["nested"]] * 9),
          table(text=pa.array([b"\xff bytes" * 50] * 9)), table(text=pa.array(["", None, TEXT]))]
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped}
KINDS = {**dict.fromkeys(["", ".txt", ".md", ".py", ".json", ".csv", ".png", ".TXT", ".pdf"], PLAIN),
         **dict.fromkeys([".jsonl", ".ndjson"], LINES), ".parquet": TABLES}
FOLDERS = [*[""] * 12, "train/", "validation/", "test/", "sub/deep/", ".git/", "runs/x/", "models/", "node_modules/"]
STEMS = ["a", "b", "c", "train", "train-00001", "validation", "val", "test", "training notes", "valley", "a b", "a,b", "[/red]",
         "[bold]", "{x}", "*", "'q'", '"', "new\nline", "-x", "~", "~root", "hf:x", "world", "日本", os.fsdecode(b"b\xff"),
         ".hidden", "x" * 200, "%s", "\x1b[31m", "a\\b", "..."]


@dataclasses.dataclass(frozen=True)
class Node:
    """One entry of a folder. kind: what it is. target: what a link names."""

    name: str
    kind: str
    data: bytes
    target: str

    def make(self, folder: Path) -> None:
        path = folder / self.name
        with contextlib.suppress(FileExistsError, NotADirectoryError):  # another entry may be in its way
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir() or path.is_symlink() or path.exists():
            return
        match self.kind:
            case "file" | "shut":
                path.write_bytes(self.data)
                path.chmod(0o600 if self.kind == "file" else 0)
            case "link":
                path.symlink_to(self.target)
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "socket":
                os.mknod(path, stat.S_IFSOCK | 0o600)


def damaged(data: bytes, how: str, where: float) -> bytes:
    at = int(len(data) * where)
    match how:
        case "cut":
            return data[:at]
        case "changed":
            return data[:at] + b"\xa5~\0" + data[at + 3:]
        case "more":
            return data + b"something more"
    return data


# Hypothesis draws whatever is last in a list too often for weights. So it draws seeds: they can be weighted, and drawn fast.
def drawn(make: Callable[[random.Random], T]) -> st.SearchStrategy[T]:
    return st.integers(0, 2**63).map(lambda seed: make(random.Random(seed)))


def node(draw: random.Random) -> Node:
    """An entry. Most are files that hold what their names say, and whole: one fault is enough to refuse a text."""
    suffix, packing = draw.choice(sorted(KINDS)), draw.choice(["", "", "", *PACKINGS])
    name = draw.choice(FOLDERS) + draw.choice(STEMS) + suffix + draw.choice([packing, packing, packing.upper()])
    like = suffix if draw.random() < 0.95 else draw.choice(sorted(KINDS))
    packed = packing if draw.random() < 0.95 else draw.choice(sorted(PACKINGS))
    data = PACKINGS[packed](KINDS[like][0] if draw.random() < 0.8 else draw.choice(KINDS[like]))
    data = damaged(data, draw.choice([*[""] * 60, "cut", "changed", "more"]), draw.random())
    kind = draw.choice([*["file"] * 20, "shut", "link", "link", "folder", "pipe", "socket"])
    target = draw.choice(["nowhere", ".", "..", "/dev/zero", "/dev/null", name.rsplit("/")[-1], "a.txt", "b.jsonl"])
    return Node(name, kind, data, target)


def spec(draw: random.Random, found: list[Node]) -> str:
    """What is given as the text: the folder most of the time, or entries of it, or several."""
    odd = ["src/", "./src/../src", "world", "src/nothing.txt", "", "/dev/null", "hf:a b", "~nobody/x"]
    names = [draw.choices(["src", draw.choice(odd), f"src/{draw.choice(found).name}"], [12, 1, 3])[0]
             for _ in range(draw.choice([1, 1, 1, 2, 3]))]
    return draw.choice([",", ",", " , "]).join(names)


@pytest.fixture(scope="module")
def stopped() -> Iterator[list]:
    """Commands stop, as by Ctrl-C, as soon as they have their text. The text is put in this list."""
    found: list = []

    def opened(config: RunConfig, *others: object) -> Corpus:
        found.append((config, real_corpus(config, *others)))
        raise KeyboardInterrupt

    def held_out(texts: Texts, limit: int | None, seed: int) -> HeldOut:
        found.append(real_texts(texts, limit, seed))
        raise KeyboardInterrupt

    real_corpus, real_texts = runs.open_corpus, Texts.held_out
    scorer = SimpleNamespace(name="x", fingerprint="x", limit=256, n_parameters=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlm.cli.train.open_corpus", opened)
        patch.setattr(Texts, "held_out", held_out)
        patch.setattr("stlm.cli.eval._checkpoint", lambda name: None)
        patch.setattr("stlm.cli.eval.open_scorer", lambda name, checkpoint, *device: scorer)
        patch.setattr("stlm.cli.eval.results.open_scores", lambda *about: {"results": {}})
        patch.setattr("stlm.data.sources.WORLD_VALIDATION", 1 << 12)
        yield found


def run(found: list, entries: list[Node], words: list[str]) -> object:
    """What one command read, and None if it refused. Its source stays as it was."""
    found.clear()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "src").mkdir()
        for entry in entries:
            entry.make(place / "src")
        (place / "tiny.toml").write_text(TINY)
        outcome = call(words, place, [place / "src", place / "tiny.toml"])
        assert not outcome.faults, (words, outcome.faults)
        assert outcome.status == (130 if found else 2), (words, outcome)
        if found and words[0] == "train":
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                check_corpus(*found[0])
                again = call(words, place)
            assert not again.faults and found[1][1].contents == found[0][1].contents
    return found[0] if found else None


def check_corpus(config: RunConfig, corpus: Corpus) -> None:
    """The corpus on disk is what the source's documents give."""
    source = open_text(config)
    for split in SPLITS:
        shard = getattr(corpus, split)
        documents = list(source.documents(split))
        assert list(shard.documents(corpus.tokenizer)) == documents
        assert shard.n_bytes == sum(map(len, documents))


@examples(12)
@given(st.data())
def test_train_reads_or_refuses_any_text(stopped, data):
    entries = data.draw(st.lists(drawn(node), min_size=1, max_size=6))
    words = ["train", "tiny.toml", f"--data={data.draw(drawn(lambda draw: spec(draw, entries)))}", "--data.megabytes", "0.002"]
    words += data.draw(st.sampled_from([[], [], [], ["--data.field", "story"], BPE]))
    event("read" if run(stopped, entries, words) else "refused")


@examples(6)
@given(st.data())
def test_eval_reads_or_refuses_any_text(stopped, data):
    entries = data.draw(st.lists(drawn(node), min_size=1, max_size=6))
    words = ["eval", "some-run", f"--text={data.draw(drawn(lambda draw: spec(draw, entries)))}", "--tasks", "bits"]
    words += data.draw(st.sampled_from([[], ["--limit", "3"]]))
    event("read" if run(stopped, entries, words) else "refused")


def test_the_harness_sees_a_corpus_that_is_not_the_text(stopped, monkeypatch):
    entry = Node("a.txt", "file", TEXT.encode(), "")
    assert run(stopped, [entry], ["train", "tiny.toml", "--data", "src"])
    monkeypatch.setattr("stlm.data.shards._encoded", lambda document, tokenizer: tokenizer.encode(document.upper()))
    with pytest.raises(AssertionError):
        run(stopped, [dataclasses.replace(entry, data=TEXT.encode() * 2)], ["train", "tiny.toml", "--data", "src"])
