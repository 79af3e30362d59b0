"""What of a folder or an archive is text, what is passed over, and that it is said."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import os
import sys
import zipfile

import pytest
from tests.data.test_encoding import zipped
from tests.data.test_sources import LINES, TEXT, both, everything, fault, fill, jsonl, table

from stlm.data.concat import open_sources
from stlm.data.listing import SEALED, split_of
from stlm.data.packing import TextFile
from stlm.data.sources import open_source
from stlm.train.folder import RunFolder
from stlm.train.presets import PRESETS

PLAIN = {f"{n}.md": TEXT for n in range(3)}


def scored(spec: object, **options: str) -> bytes:
    return b"".join(open_sources(str(spec), **options).to_score())


def about(spec: object) -> str:
    return open_sources(str(spec)).about()


def test_training_and_scoring_agree_and_say_what_they_pass_over(tmp_path):
    fill(tmp_path, {**PLAIN, "b.txt": b"a\0b",
                    "c/d.csv": b"\0", "e.png": b"x", "f": b"x", "g.tar": b"x", "h.docx": b"x",
                    ".i/j.md": b"x",
                    ".k.md": b"x", "c/__pycache__/l.py": b"x"})
    (tmp_path / "link").symlink_to(tmp_path / "c")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert scored(tmp_path) == everything(tmp_path) == TEXT * 3
    said = ("3 files; 11 passed over: 2 hidden (.i, .k.md), 4 of another kind (e.png, f, g.tar, ...), "
            "1 neither file nor folder (gone.txt), 1 linked (link), 1 made by tools (c/__pycache__), 2 binary (b.txt, c/d.csv)")
    assert about(tmp_path) == open_source(str(tmp_path)).about(scoring=True) == said
    assert about(tmp_path / "0.md") == "1 file"


def test_what_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    fill(tmp_path, {**PLAIN, "shut.txt": TEXT, "shut/a.txt": TEXT, "b/shut.jsonl.gz": b""})

    def refusing(function):
        def refuse(path, *words, **options):
            if os.path.basename(str(path)).startswith("shut"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *words, **options)
        return refuse

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr("builtins.open", refusing(open))
    assert everything(tmp_path) == scored(tmp_path) == TEXT * 3
    assert about(tmp_path) == "3 files; 3 passed over: 3 unreadable (shut, b/shut.jsonl.gz, shut.txt)"


def test_our_own_folders_are_known_by_what_is_in_them(tmp_path):
    fill(tmp_path, {**PLAIN, "runs/diary.md": TEXT, "results/notes/results.json": TEXT, "models/config.json": TEXT})
    assert everything(tmp_path).count(TEXT) == 6 and about(tmp_path) == "6 files"
    RunFolder(tmp_path / "runs" / "mine").create(PRESETS["demo"]())
    RunFolder(tmp_path / "elsewhere").create(PRESETS["demo"]())
    own = {"runs/mine/samples.jsonl": b"{}", "models/small/config.json": b"{}", "models/small/trainer.json": b"{}",
           "models/small/README.md": b"x", "results/rates/results.json": b"{}", "results/rates/report.html": b"x",
           "out/results.json": b"{}", "out/scores.html": b"x", "out/samples_bits.jsonl": b"{}"}
    fill(tmp_path, own)
    assert everything(tmp_path).count(TEXT) == 6
    said = about(tmp_path)
    assert said.startswith("6 files; 5 passed over: 5 of stlm's own (") and said.endswith(", ...)")
    assert "there is no text in this folder" in fault(fill(tmp_path / "all", {name: b"x" for name in own if "out" in name}))


@pytest.mark.parametrize(("name", "split"), [
    ("train.txt", "train"), ("TRAIN.CSV", "train"), ("train-00001.jsonl", "train"), ("train-00000-of-00002.parquet", "train"),
    ("train-00000-of-00002-0123456789abcdef.parquet", "train"), ("train_1.md.gz", "train"), ("train.3.txt", "train"),
    ("train/a.md", "train"), ("data/train/b/c.txt", "train"), ("train-v1.1.json", "train"), ("train_extra.jsonl.zst", "train"),
    ("validation.tsv.xz", "validation"), ("valid.txt", "validation"), ("val/a.txt", "validation"), ("dev-2.json", "validation"),
    ("test.txt.bz2", "test"), ("test_en.ndjson", "test"), ("train/test.md", "test"), ("test/train.md", "test"),
    ("train-to-the-coast.md", None), ("dev-diary.md", None), ("test-of-patience.md", None), ("train ride.txt", None),
    ("val d'isère.txt", None), ("test.results.csv", None), ("training.txt", None), ("trains/a.txt", None),
    ("test-drive/a.md", None), ("dev-notes/b.txt", None),
    ("trainer.jsonl", None), ("train/loop.py", None), ("test_all.py", None),
    ("a.zip/train.txt", "train"), ("train.zip/a.txt", None), ("my train.jsonl", None)])
def test_names_of_splits(name, split):
    assert split_of(TextFile(name, name)) == split


def test_files_left_out_because_of_their_names_are_named(tmp_path):
    fill(tmp_path, {**PLAIN, "train.md": TEXT, "test.md": TEXT})
    assert about(tmp_path) == "1 file; 4 passed over: 3 named for no split (0.md, 1.md, 2.md), 1 named test (test.md)"
    assert open_source(str(tmp_path)).about(scoring=True) == \
        "1 file; 4 passed over: 3 named for no split (0.md, 1.md, 2.md), 1 named train (train.md)"
    fill(tmp_path / "n", {**PLAIN, "train-to-the-sea.md": TEXT, "dev-diary.md": TEXT, "odd\nname.txt": b"\0"})
    assert about(tmp_path / "n") == "5 files; 1 passed over: 1 binary ('odd\\nname.txt')"


def test_archives_are_read_as_folders(tmp_path):
    members = {"train.txt": TEXT, "deep/validation.jsonl": jsonl(LINES), "test.md": b"no", "a.png": b"x",
               "__MACOSX/._a.txt": b"x", ".hidden.txt": b"x", "inner.zip": b"x", "deep/": b""}
    (tmp_path / "a.zip").write_bytes(zipped(**members))
    assert both(tmp_path / "a.zip") == ([TEXT], [line.encode() for line in LINES]) == both(tmp_path)
    assert about(tmp_path / "a.zip") == ("2 files; 5 passed over: 2 hidden (a.zip/__MACOSX/._a.txt, a.zip/.hidden.txt), "
                                         "2 of another kind (a.zip/a.png, a.zip/inner.zip), 1 named test (a.zip/test.md)")
    (tmp_path / "a.zip").unlink()
    packed = {"a.txt": TEXT, "b.txt.bz2": bz2.compress(TEXT), "c.md.xz": lzma.compress(TEXT), "d.csv.gz": gzip.compress(TEXT)}
    (tmp_path / "b.zip").write_bytes(zipped(**packed, **{"e.parquet": table(text=[TEXT.decode()])}))
    (tmp_path / "c.zip").write_bytes(zipped(**{"enwik": TEXT}))  # one member: any name
    assert scored(tmp_path) == everything(tmp_path) == TEXT * 6
    assert about(tmp_path) == "6 files" and open_source(str(tmp_path)).size_hint is None


@pytest.mark.parametrize(("data", "said"), [
    (zipped(), "there is no text in this archive (it is empty)"),
    (zipped(**{"a.pdf": b"x"}), "there is no text in this archive (1 passed over: 1 of another kind (a.zip/a.pdf))"),
    (zipped(a=b"\0"), "(1 passed over: 1 binary (a.zip/a))"),
    (zipped(**{"a.txt": TEXT}).replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"), "1 locked (a.zip/a.txt)"),
    (zipped(**{"a.txt": TEXT})[:-30], "a damaged .zip file (File is not a zip file)"), (b"", "a damaged .zip file"),
    (zipped(**{"a.txt": TEXT}).replace(b"PK\3\4", b"PK\3\5"), "a damaged .zip file (Bad magic number for file header)"),
])
def test_faults_of_archives(tmp_path, data, said):
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert fault(path).startswith(str(path)) and said in fault(path)


@pytest.mark.parametrize("name", ["a.7z", "a.rar", "a.tar", "a.TAR.GZ", "a.tgz", "a.docx", "a.pdf", "a.pdf.gz", "a.epub",
                                  "a.zip.xz", "a.tar.zst", "a.lz4", "a.xlsx"])
def test_what_has_to_be_unpacked_first_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(TEXT)
    assert "stlm doesn't read" in fault(tmp_path / name) and "unpack it" in fault(tmp_path / name)
    fill(tmp_path, PLAIN)
    assert everything(tmp_path) == TEXT * 3 and f"1 of another kind ({name})" in about(tmp_path)
    assert TextFile("", name).kind in SEALED


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".lzma"])
@pytest.mark.parametrize("damage", [lambda data: data[:len(data) // 3], lambda data: b"something" * 9,
                                    lambda data: data[:30] + b"damage" + data[36:]], ids=["cut", "other", "changed"])
def test_damage(tmp_path, suffix, damage):
    packed = {".bz2": bz2.compress, ".xz": lzma.compress, ".lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE)}
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(damage(packed[suffix](os.urandom(20_000).replace(b"\0", b""))))
    for spec in (path, tmp_path):
        assert fault(spec).startswith(f"{path}: a damaged {suffix} file (")


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_null_or_an_empty_record_is_no_document_anywhere(tmp_path, nothing, monkeypatch):
    texts = [nothing, "a" * 600, nothing, nothing, "b" * 600, nothing]
    fill(tmp_path, {"a.jsonl": b"null\n" + b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts),
                    "b.parquet": table(text=texts), "c.parquet": table(text=[None] * 3)})
    assert list(open_source(str(tmp_path)).to_score()) == [b"a" * 600, b"b" * 600] * 2
    splits = {"train": [{"text": text} for text in texts]}
    hub = type(sys)("datasets")
    hub.get_dataset_split_names = lambda *words, **options: list(splits)
    hub.load_dataset = lambda path, name=None, *, split, streaming, **options: iter(splits[split])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    monkeypatch.setattr("stlm.data.sources.Hub._revision", "1")
    assert everything("hf:a") == b"a" * 600 + b"b" * 600
    fill(tmp_path, {"d.jsonl": b'{"other": null}\n'})
    assert "there is no field 'text'" in fault(tmp_path)


def test_a_home_and_several_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path, {"a.jsonl": jsonl(["x" * 700], "story"), "b/c.jsonl": jsonl(["y" * 700], "story"), "d,e/f.md": TEXT})
    assert scored("~/a.jsonl, ~/b", field="story") == b"x" * 700 + b"y" * 700
    assert about("~/b,~/a.jsonl") == "folder b: 1 file; file a.jsonl: 1 file"
    assert scored("~/d,e") == TEXT


def test_scoring_takes_what_is_held_out_by_name(tmp_path):
    fill(tmp_path, {"train.txt": TEXT, "test.txt": b"T" * 9, "val/a.txt": b"v"})
    assert scored(tmp_path) == b"T" * 9 + b"v"
    fill(tmp_path / "only", {"test.txt": b"t"})
    assert scored(tmp_path / "only") == b"t" and "none to train on" in fault(tmp_path / "only")
    assert scored(tmp_path / "train.txt") == TEXT


def test_many_small_files(tmp_path):
    for folder, number in itertools.product(range(5), range(100)):
        if not number:
            (tmp_path / str(folder)).mkdir()
        (tmp_path / str(folder) / f"{number}.txt").write_bytes(b"x%d " % number)
    source = open_source(str(tmp_path))
    assert source.about() == "500 files" and len(list(source.to_score())) == 500


def test_a_zip_of_many_members_is_opened_once_a_pass(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped(**{f"{n}.txt": b"word %d " % n for n in range(300)}))
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or real(path))
    source = open_source(str(tmp_path / "a.zip"))
    assert len(list(source.to_score())) == 300 and len(opened) == 2
