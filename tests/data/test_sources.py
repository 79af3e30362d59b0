"""Text comes byte for byte out of every kind of file, splits share nothing, faults are named."""

from __future__ import annotations

import builtins
import bz2
import functools
import gzip
import io
import itertools
import json
import lzma
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from stlm.data import sources, splits
from stlm.data.sources import open_source
from stlm.errors import UserError

PACKINGS = ["", ".gz", ".zst", ".bz2", ".xz"]
TEXT = "Once upon a time, Zoë had ¾ of an apple. 🍎\r\n\tShe ate it.\n".encode() * 40
RAW = bytes(range(256)) * 8 + b"\r\n\r\n\n"
NO_ZERO = RAW.replace(b"\0", b"")
LINES = [f"Line {i}: the apple ¾ is rød, and 日本 too.\r\n" + "x" * i for i in range(300)]


def pack(data: bytes, name: str, parts: int = 2) -> bytes:
    """Packed as ``name`` says, in parts one after the other."""
    size = -(-len(data) // parts) or 1
    packer = PACKERS.get(Path(f"a{name}").suffix, bytes)
    return b"".join(packer(data[start:start + size]) for start in range(0, len(data), size))


def zstd(data: bytes) -> bytes:
    """A frame to be skipped, and one without its content's size that asks for a wide window."""
    wide = zstandard.ZstdCompressionParameters(window_log=28, write_checksum=True)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    return b"\x50\x2a\x4d\x18\5\0\0\0notes" + stream.compress(data) + stream.flush()


PACKERS = {".gz": functools.partial(gzip.compress, mtime=0), ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress}


def jsonl(texts: list[str], field: str = "text") -> bytes:
    """Two lines a text: the record and an empty one."""
    return b"".join(json.dumps({"id": 0, field: text}).encode() + b"\r\n\n" for text in texts)


def table(**columns: object) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, row_group_size=70)
    return file.getvalue()


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    """Files by name, packed as their names say."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pack(data, name))
    return folder


def both(spec: object, **options: object) -> tuple[list[bytes], list[bytes]]:
    source = open_source(str(spec), **options)
    return list(source.documents("train")), list(source.documents("validation"))


def everything(spec: object) -> bytes:
    """All bytes of both splits, for text of which the end is held out."""
    return b"".join(itertools.chain(*both(spec)))


def fault(spec: object, **options: object) -> str:
    """The one line that says why there is no text."""
    with pytest.raises(UserError) as caught:
        both(spec, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def by_hash(train: list[bytes], validation: list[bytes]) -> bool:
    return max(map(splits._hash_of, validation)) < min(map(splits._hash_of, train))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "a.json", "a.bin", "a", "A.TXT", "test"])
def test_plain_files_keep_every_byte(tmp_path, name, packing):
    assert everything(fill(tmp_path, {name + packing: NO_ZERO}) / (name + packing)) == NO_ZERO
    if "." in name and name != "a.bin":  # a folder passes over what isn't text by name
        assert everything(tmp_path) == NO_ZERO
    fill(tmp_path, {name + packing: RAW})
    assert "this is a binary file" in fault(tmp_path / (name + packing))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".parquet"])
@pytest.mark.parametrize("field", ["text", "story"])
def test_a_document_a_line_or_row(tmp_path, suffix, packing, field):
    data = table(n=range(300), **{field: LINES}) if suffix == ".parquet" else jsonl(LINES, field)
    fill(tmp_path, {f"a{suffix}{packing}": data})
    for spec in (tmp_path, tmp_path / f"a{suffix}{packing}"):
        train, validation = both(spec, field=field)
        assert Counter(train + validation) == Counter(line.encode() for line in LINES)
        assert 0 < len(validation) < 20


def test_all_kinds_of_string_columns_and_what_is_skipped(tmp_path):
    files = {"a.txt": b"", "b.c.zst": b"",
             "c.jsonl": b"\xef\xbb\xbf" + jsonl(["", *LINES, ""]) + b" \t \n"}  # a byte order mark
    text = pa.string()
    for kind in (text, pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), text)):
        columns = {"text.raw": range(302), "text": pa.array([*LINES, None, ""], kind)}
        files[f"{len(files)}.parquet"] = table(**columns)
    train, validation = both(fill(tmp_path, files))
    assert sorted(train + validation) == sorted(line.encode() for line in LINES * 5)


@pytest.mark.parametrize("parts", [1, 2, 3, 70])
@pytest.mark.parametrize("suffix", PACKINGS[1:])
def test_packed_files_are_read_whole_however_many_parts_they_have(tmp_path, suffix, parts):
    path, data = tmp_path / f"a.bin{suffix}", NO_ZERO * 100
    path.write_bytes(pack(data, suffix, parts))
    assert everything(path) == data


def test_what_a_folder_passes_over_and_its_order(tmp_path, monkeypatch):
    taken = {"a.py": b"0" + TEXT, "a/z.md": b"1" + TEXT, "b.txt": b"2" * 8192 + b"\0"}
    passed = {".a.txt", ".git/a.txt", "node_modules/a.js", "a/__pycache__/a.txt", "b.png", "README"}
    binary = {"b0.txt": RAW, "b1.csv.gz": RAW, "b2.csv.zst": RAW}
    fill(tmp_path, taken | dict.fromkeys(passed, TEXT) | binary)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    assert everything(tmp_path) == b"".join(taken.values())
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: (  # folders have no order of their own
        (place, dirs.reverse() or dirs, names[::-1]) for place, dirs, names in walk(*a, **k)))
    assert everything(tmp_path) == b"".join(taken.values())


@pytest.mark.parametrize(("train", "validation", "test"), [
    ("train.txt", "validation.txt", "test.txt"), ("train_0.txt", "val_0.txt", "test_0.txt"),
    ("train-a.jsonl", "valid-a.jsonl", "test-a.jsonl"), ("train1.md", "dev1.md", "test1.md"),
    ("train/a.txt", "dev/a.txt", "test/a.txt"), ("x/Train.txt.gz", "x/VAL.txt.zst", "x/TEST.c"),
    ("train/b.txt", "validation/b.txt", "train/test.txt"), ("train.md", "val.csv", "test/train.md"),
])
def test_names_decide(tmp_path, train, validation, test):
    texts = {train: "t" * 900, validation: "v" * 200, test: "no", "vals.txt": "no"}
    fill(tmp_path, {n: jsonl([t]) if "jsonl" in n else t.encode() for n, t in texts.items()})
    assert both(tmp_path) == ([b"t" * 900], [b"v" * 200])


def test_names_for_one_split_only_or_within_words_or_of_a_file_alone(tmp_path):
    files = {"train.txt": TEXT, "test.txt": b"no", "other.txt": b"no"}
    assert everything(fill(tmp_path / "a", files)) == TEXT
    fill(tmp_path / "b", {"dev.txt": TEXT, "test_1.txt": b"no", "book.txt": NO_ZERO})
    assert both(tmp_path / "b") == ([NO_ZERO], [TEXT])
    fill(tmp_path / "c", {"trainer.txt": b"a" * 600, "tested.txt": b"b" * 600})
    assert everything(tmp_path / "c") == b"b" * 600 + b"a" * 600
    assert everything(fill(tmp_path, {"test.md": TEXT}) / "test.md") == TEXT


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
                      min_size=1, max_size=120),
       repeat=st.integers(1, 3), filler=st.sampled_from(["a", "é", "日", "🍎"]))
def test_splits_share_nothing_and_cover_everything(texts, repeat, filler):
    documents = [text.encode() for text in texts * repeat] + [(filler * 1000).encode()]
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), {"a.jsonl": jsonl([document.decode() for document in documents])})
        train, validation = split = both(folder)
        assert split == both(folder)
    total, held = sum(map(len, documents)), sum(map(len, validation))
    if len(documents) >= 50 and Counter(train + validation) == Counter(documents) and by_hash(*split):
        assert held >= 1000 and train == [document for document in documents if document in set(train)]
    else:  # the end is held out, in pieces of whole characters
        assert b"".join(train + validation) == b"".join(documents)
        least = min(1000, total // 2)
        assert max(0.1 * total, least) - 5 < held <= max(0.1 * total, least)
        assert all(part.decode() for part in train + validation)
        assert train[:-1] == documents[:len(train) - 1]
        assert validation[1:] == documents[len(documents) - len(validation) + 1:]


def test_how_much_is_held_out(tmp_path):
    fill(tmp_path, {"a.jsonl": jsonl([f"Text {i:05} of many." for i in range(20_000)])})
    train, validation = both(tmp_path)
    assert by_hash(train, validation) and 140 < len(validation) < 260
    for text in (train[0], validation[0]):  # where hashes leave one side empty, the end is
        fill(tmp_path, {"a.jsonl": jsonl([text.decode()] * 600)})
        assert both(tmp_path) == ([text] * 540, [text] * 60)
    for sizes in ((12_000_000,), (1000, 50, 60), (1000, 100, 1), (10, 10, 1500, 3, 1)):
        files = {f"{i}.txt": b"\x80" * (size - 1) + b"a" for i, size in enumerate(sizes)}
        train, validation = both(fill(tmp_path / str(sizes), files))
        assert b"".join(train + validation) == b"".join(files.values())
        assert sum(map(len, validation)) == max(min(sum(sizes) // 10, 1_000_000), min(1000, sum(sizes) // 2))


def test_the_rule_is_found_late_and_without_reading_all(tmp_path):
    fill(tmp_path, {"a.jsonl": jsonl(LINES * 8), "b.jsonl": b"no JSON"})
    source = open_source(str(tmp_path))  # no fault yet: nothing was read
    assert len(list(itertools.islice(source.documents("train"), 400))) == 400
    with pytest.raises(UserError, match=r"b\.jsonl:1: this isn't JSON"):
        list(source.documents("train"))
    with pytest.raises(KeyError):
        source.documents("test")


def test_the_fingerprint_is_of_all_that_determines_the_documents(tmp_path, monkeypatch):
    def mark(**options: object) -> str:
        return open_source(str(tmp_path), **options).fingerprint()

    def stamp(data: bytes, time: int) -> str:
        (tmp_path / "a.txt").write_bytes(data)
        os.utime(tmp_path / "a.txt", ns=(1, time))
        return mark()

    fill(tmp_path, {"b.txt": TEXT})
    seen = [stamp(TEXT, 1), mark(field="story"), stamp(TEXT + b"!", 2)]
    assert stamp(TEXT, 3) == seen[0]  # times say nothing
    assert mark(seed=1, megabytes=3.0) == seen[0]  # these change nothing about files
    for old, new in (("b.txt", "c.txt"), ("c.txt", "validation.txt")):
        seen.append((tmp_path / old).rename(tmp_path / new) and mark())
    monkeypatch.setattr(sources, "FORMAT", sources.FORMAT + 1)
    assert len({*seen, mark()}) == 6
    monkeypatch.setattr(sources.Hub, "_revision", "r1")
    hub = {open_source(spec, field=field, seed=seed, megabytes=megabytes).fingerprint()
           for spec in ("hf:a", "hf:b", "hf:a:c") for field in ("text", "story")
           for megabytes in (1.0, 2.0) for seed in (0, 1)}
    assert len(hub) == 3 * 2 * 2  # the seed changes nothing about the hub


def test_a_source_is_the_same_at_another_place_and_in_another_process(tmp_path):
    program = ("import sys; from stlm.data.sources import open_source as o; s = o(sys.argv[1])\n"
               "print(s.fingerprint(), len([*s.documents('validation')]), 'torch' in sys.modules)")
    for place in ("x", "y"):
        fill(tmp_path / place, {"a.jsonl": jsonl(LINES), "b/c.txt.gz": TEXT, "test.txt": TEXT})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    said = subprocess.run([sys.executable, "-c", program, str(tmp_path / "y")], env=environment,
                          capture_output=True, text=True, check=True).stdout.split()
    source = open_source(f"{tmp_path / 'x'}/")
    assert said == [source.fingerprint(), str(len([*source.documents("validation")])), "False"]
    assert source.name == "folder x" and source.entropy_bits(TEXT) is None
    assert source.size_hint is None  # a packed file is among them
    assert open_source(str(tmp_path / "x" / "a.jsonl")).size_hint == len(jsonl(LINES))


@pytest.mark.parametrize(("files", "spec", "said"), [
    ({"tales.txt": TEXT}, "tale.txt", "no such file or folder (did you mean 'tales.txt'?); give"),
    ({"tales.txt": TEXT}, "tales.txt/deeper/q", "no such file or folder; give a file, a folder"),
    ({"a.png": RAW}, "", "there is no text in this folder (1 passed over: 1 of another kind (a.png)); stlm reads text, "),
    ({}, "", "also in .gz, .bz2, .xz, .lzma, .zst, .zip; for another"),
    ({"a.txt": RAW}, "", "there is no text in this folder (1 passed over: 1 binary (a.txt))"),
    ({"a.md": b""}, "a.md", "stlm needs at least 1 kB"),
    ({"a.txt": b"a" * 999}, "", "999 bytes"), ({"a.jsonl": jsonl(["x"] * 60)}, "", "60 bytes"),
    ({"train.txt": b"a" * 500, "valid.txt": b"b" * 400}, "", "900 bytes of text"),
    ({"train.txt": b"", "valid.txt": TEXT}, "", "there is no text in its train split"),
    ({"train.txt": TEXT, "valid.txt": b""}, "", "there is no text in its validation split"),
    ({"test.txt": TEXT}, "", "all of its files are named test, so there are none to train on"),
    ({"valid.txt": TEXT, "test.md": TEXT}, "", "named test or validation, so there are none"),
    ({"a.parquet": table(title=LINES, n=range(300))}, "",
     "a.parquet: there is no column 'text'; the columns are 'title', 'n'; choose one with"),
    ({"a.parquet": table(title=LINES, text=range(300))}, "",
     "the column 'text' holds int64, not strings; the columns with strings are 'title'; choose"),
    ({"a.parquet": b"x" * 3000}, "", "a.parquet: a damaged parquet file (Parquet magic bytes"),
    ({"a.parquet": table(text=LINES)[:100] + b"\xff" * 999 + table(text=LINES)[1099:]}, "",
     "a.parquet: a damaged .parquet file ("),
])
def test_faults_of_files_and_folders(tmp_path, files, spec, said):
    assert said in fault(fill(tmp_path, files) / spec)


def test_faults_of_what_was_asked_for(tmp_path, monkeypatch):
    assert "no such file or folder (did you mean 'world'?); give" in fault("wrld")
    assert "no such file or folder" in fault("~no-such-user-at-all/q")
    for spec in ("", "/dev/null"):
        assert "neither a file nor a folder" in fault(spec)
    for spec in ("hf:", "hf:a/b/c", "hf:a b", "hf:a:", "hf:/a", "hf:a:b:c"):
        assert "write hf:NAME or hf:NAME:CONFIG" in fault(spec)
    for megabytes in (0.0, -1.0, float("nan"), float("inf")):
        assert "it has to be a number above 0" in fault("world", megabytes=megabytes)
    fill(tmp_path, {"a.parquet": table(text=LINES)})
    for package, spec in (("pyarrow", tmp_path), ("datasets", "hf:thing")):
        monkeypatch.setitem(sys.modules, package, None)
        assert "pip install 'stlm[data]'" in fault(spec)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(("line", "said"), [
    (b"{'text': 1}", "this isn't JSON (Expecting property name enclosed in double quotes"),
    (b'{"text": "a', "this isn't JSON ("), (b"[" * 100_000, "this isn't JSON ("),
    (b'{"text": "\xff"}', "this isn't JSON ('utf-8' codec can't decode"),
    (b'["text"]', "this isn't a JSON object"), (b"{}", "the fields are none"),
    (b'{"a": "a", "b": "b"}', "there is no field 'text'; the fields are 'a', 'b'; choose"),
    (b'{"text": 3, "a": "b"}', "'text' holds int, not a string; the fields with strings are 'a'"),
    (b'{"text": "ab\\ud800"}', "holds half a surrogate pair at character 2"),
    (b'{"text": "ab\xed\xa0\x80"}', "holds half a surrogate pair at character 2"),
])
def test_a_bad_line_is_named(tmp_path, line, said, packing):
    path = tmp_path / f"a.jsonl{packing}"
    fill(tmp_path, {path.name: jsonl(["a" * 2000]) + line + b"\n"})  # jsonl writes two lines
    assert fault(path).startswith(f"{path}:3: ") and said in fault(path)


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [
    lambda data: data[:-3], lambda data: data[:len(data) // 3], lambda data: b"something" * 9,
    lambda data: data[:40] + b"damage" + data[46:], lambda data: data + b"something more",
], ids=["its end is missing", "cut short", "something else", "changed within", "something after"])
def test_a_damaged_packed_file(tmp_path, suffix, packing, damage):
    content = {".txt": RAW, ".jsonl": jsonl(LINES), ".parquet": table(text=LINES)}[suffix]
    path = tmp_path / f"a{suffix}{packing}"
    path.write_bytes(damage(pack(content, packing)))
    for spec in (path, tmp_path):
        assert fault(spec).startswith(f"{path}: a damaged {packing} file (")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl.zst", "a.parquet"])
def test_what_may_not_be_read(tmp_path, name, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    path = fill(tmp_path, {name: TEXT}) / name
    for module, function, shut in ((builtins, "open", path), (os, "scandir", tmp_path)):
        with monkeypatch.context() as patch:  # chmod would not stop root
            patch.setattr(module, function, refuse)
            spec = path if shut == path else tmp_path
            assert fault(spec).startswith(f"{shut}: cannot be read (Permission denied)")
            if shut == path:
                assert f"there is no text in this folder (1 passed over: 1 unreadable ({name}))" in fault(tmp_path)


def test_the_built_in_corpus():
    world = pytest.importorskip("stlm.text.world", reason="the built-in corpus is not there yet")
    source = open_source("world", seed=3, megabytes=0.02)
    train, validation = split = both("world", seed=3, megabytes=0.02)
    assert source.name == "world (seed 3)" and source.size_hint == 20_000
    for documents, size in ((train, 20_000), (validation, 1 << 18)):
        assert sum(map(len, documents[:-1])) < size <= sum(map(len, documents))
    assert not set(train) & set(validation)
    assert split == both("world", seed=3, megabytes=0.02)
    assert source.entropy_bits(train[1]) == pytest.approx(world.write_story(3, 1).bits)
    assert len({open_source("world", seed=seed, megabytes=megabytes).fingerprint()
                for seed in (3, 4) for megabytes in (1.0, 2.0)}) == 4


def test_real_stories(real_data):
    train, validation = both(real_data / "text" / "tinystories_sample")
    # train.jsonl.zst, the one document of train_lowercase_extra.jsonl.zst, and validation.jsonl.zst
    assert (len(train), len(validation)) == (2116 + 1, 100)
    assert train[0].startswith(b"One day, a little girl named Lily found a needle")


def test_source_code_is_no_data_set(tmp_path):
    for name in ("train/loop.py", "test_all.py", "main.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() + b" = 1  # some code\n" * 60)
    train, validation = both(tmp_path)
    assert b"".join(train + validation).count(b"some code") == 180
