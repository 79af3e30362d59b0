"""Text from files, folders, the hub and the built-in corpus; and what is said where there is none."""

from __future__ import annotations

import gzip
import json
import sys
import types

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stlm.data import sources
from stlm.data.sources import HoldOut, open_source
from stlm.errors import UserError
from stlm.text.world import write_story

LONG = "A line of text that is long enough to learn from, at least for a test. ".encode() * 30
PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def texts(spec, split="train", **keywords):
    return list(open_source(str(spec), **keywords).documents(split))


def both(spec, **keywords):
    return texts(spec, "train", **keywords) + texts(spec, "validation", **keywords)


def lines(documents, field="text"):
    return b"".join(json.dumps({field: d, "other": 1}).encode() + b"\n" for d in documents)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "a.weird", "noending"])
def test_a_file_is_read_byte_for_byte(tmp_path, name, packing):
    data = bytes(range(256)) * 8 + b"\r\nend\r\n"
    path = tmp_path / (name + packing)
    path.write_bytes(PACK[packing](data))
    assert b"".join(both(path)) == data


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson"])
def test_a_line_is_a_document(tmp_path, ending, packing):
    documents = [f"Document {i}: naïve 超 \U0001f389 {'x' * i}" for i in range(80)]
    path = tmp_path / ("a" + ending + packing)
    path.write_bytes(PACK[packing](lines(documents, "body") + b"\n" + lines([""], "body")))
    assert sorted(both(path, field="body")) == sorted(d.encode() for d in documents)


@pytest.mark.parametrize("packing", PACK)
def test_a_row_is_a_document(tmp_path, packing):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra stlm[data] is not installed")
    from pyarrow import parquet
    documents = [f"row {i} " * 9 for i in range(70)]
    plain = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [*documents, None, ""], "n": range(72)}), plain, row_group_size=16)
    path = tmp_path / ("rows.parquet" + packing)
    path.write_bytes(PACK[packing](plain.read_bytes()))
    assert sorted(both(path)) == sorted(d.encode() for d in documents)
    with pytest.raises(UserError, match="there is no column 'body'; the columns are 'text', 'n'"):
        texts(path, field="body")


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_all_members_of_a_packed_file_are_read(tmp_path, packing):
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACK[packing](LONG) + PACK[packing](b"and more"))
    assert b"".join(both(path)) == LONG + b"and more"


def test_a_folder_is_walked_in_order_and_passes_over_what_is_no_text(tmp_path):
    for name in ("b/two.md", "a.txt", "b/c/three.rs", ".git/config.txt", "b/__pycache__/x.py", ".hidden.txt", "d.bin", "e.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() + b" " + LONG)
    (tmp_path / "zeros.txt").write_bytes(b"\0" * 2000)
    (tmp_path / "empty.txt").write_bytes(b"")
    assert [d[:5] for d in texts(tmp_path)] == [b"a.txt", b"b/c/t", b"b/two"]


def test_names_of_files_decide(tmp_path):
    for name in ("train.txt", "train_extra.txt", "validation.txt", "test.txt", "trainers.txt"):
        (tmp_path / name).write_bytes(name.encode() + LONG)
    assert [d[:9] for d in texts(tmp_path)] == [b"train.txt", b"train_ext"]
    assert [d[:9] for d in texts(tmp_path, "validation")] == [b"validatio"]


def test_names_of_folders_decide(tmp_path):
    for name in ("train/x.txt", "val/x.txt", "test/x.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode() + LONG)
    assert [d[:5] for d in texts(tmp_path)] == [b"train"]
    assert [d[:5] for d in texts(tmp_path, "validation")] == [b"val/x"]


def test_without_validation_files_some_training_text_is_held_out(tmp_path):
    (tmp_path / "train.txt").write_bytes(LONG)
    (tmp_path / "test.txt").write_bytes(b"never" + LONG)
    assert b"".join(both(tmp_path)) == LONG


@given(documents=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=130))
def test_held_out_and_trained_on_are_everything_and_share_nothing(documents):
    if sum(map(len, documents)) < 2:
        return
    held = HoldOut(lambda: iter(documents))
    train, validation = list(held.documents("train")), list(held.documents("validation"))
    assert train and validation
    assert sorted(b"".join(train) + b"".join(validation)) == sorted(b"".join(documents))
    assert all(train) and all(validation)
    again = HoldOut(lambda: iter(documents))
    assert list(again.documents("validation")) == validation


def test_a_lone_file_keeps_its_end_out_and_cuts_no_character(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("超" * 1000, encoding="utf-8")
    train, validation = (b"".join(texts(path, split)) for split in ("train", "validation"))
    assert len(train) == 2700
    validation.decode("utf-8")
    assert train + validation == path.read_bytes()


def test_many_documents_are_held_out_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([f"document number {i} is here" for i in range(3000)]))
    validation = texts(path, "validation")
    assert 10 < len(validation) < 60
    assert all(d.startswith(b"document number") for d in validation)


def test_the_built_in_corpus():
    world = open_source("world", seed=5, megabytes=0.02)
    train = list(world.documents("train"))
    assert train[0].decode() == write_story(5, 0).text
    assert 20_000 <= sum(map(len, train)) < 23_000
    validation = list(world.documents("validation"))
    assert not set(train) & set(validation)
    assert 2**18 <= sum(map(len, validation)) < 2**18 + 3000
    assert world.entropy_bits(train[0]) == write_story(5, 0).bits
    assert world.fingerprint() != open_source("world", seed=6, megabytes=0.02).fingerprint()


def test_the_fingerprint_follows_the_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(LONG)
    before = open_source(str(path)).fingerprint()
    assert open_source(str(path)).fingerprint() == before
    assert open_source(str(path), field="other").fingerprint() != before
    path.write_bytes(LONG + b".")
    assert open_source(str(path)).fingerprint() != before


def fault(spec, **keywords):
    with pytest.raises(UserError) as caught:
        both(spec, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_faults_of_paths(tmp_path):
    (tmp_path / "notes.txt").write_bytes(LONG)
    assert "there is no such file or folder (did you mean 'notes.txt'?)" in fault(tmp_path / "nots.txt")
    (tmp_path / "empty").mkdir()
    assert "no readable file is in this folder; read are .txt .md" in fault(tmp_path / "empty")
    (tmp_path / "short.txt").write_bytes(b"short")
    assert "5 bytes of text are too little to learn from; give at least 1000" in fault(tmp_path / "short.txt")
    (tmp_path / "none.txt").write_bytes(b"")
    assert "0 bytes of text are too little" in fault(tmp_path / "none.txt")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test.txt").write_bytes(LONG)
    assert "only files named test*" in fault(tmp_path / "tests")


@pytest.mark.parametrize(("line", "message"), [
    (b"{bad", "a.jsonl:3: not a line of JSON"),
    (b'{"body": "x"}', "a.jsonl:3: there is no field 'text'; the fields are 'body'; choose one with --data.field"),
    (b'{"text": 3}', "a.jsonl:3: the field 'text' holds int, not a text"),
    (b"[1]", "the fields are none: it isn't an object"),
    (b'{"text": "\\ud800"}', "a.jsonl:3: the text holds half of a surrogate pair"),
    (b'{"text": "\xff"}', "a.jsonl:3: not a line of JSON"),
])
def test_faults_of_lines(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(["fine"] * 2) + line + b"\n" + lines(["fine and long enough"] * 99))
    assert message in fault(path)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl.zst", "a.parquet"])
def test_damaged_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"this is not packed at all" * 100)
    assert "damaged" in fault(path)
    if name != "a.parquet":
        packed = PACK[path.suffix](lines([f"a longer text {i * i}" for i in range(5000)]))
        path.write_bytes(packed[:len(packed) // 2])
        try:
            read = sum(map(len, both(path)))
        except UserError as error:
            assert "damaged" in str(error) or "not a line" in str(error)
        else:
            assert path.suffix == ".zst" and read, "a cut .gz file has to be noticed"


def hub(monkeypatch, splits, rows):
    module = types.ModuleType("datasets")
    module.get_dataset_split_names = lambda path, config: splits
    module.load_dataset = lambda path, config, split, streaming: iter(rows[split])
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_the_hub(monkeypatch):
    rows = {"train": [{"text": f"training {i}"} for i in range(500)], "validation": [{"text": "held out"}] * 3}
    hub(monkeypatch, ["train", "validation", "test"], rows)
    assert len(texts("hf:owner/name")) == 500
    assert texts("hf:owner/name", "validation") == [b"held out"] * 3
    assert len(texts("hf:owner/name", megabytes=0.001)) == 92
    hub(monkeypatch, ["train", "test"], rows)
    train, validation = texts("hf:owner/name:config"), texts("hf:owner/name:config", "validation")
    assert len(train) + len(validation) == 500
    assert validation and not set(train) & set(validation)
    assert "no field 'body'; the fields are 'text'" in fault("hf:owner/name", field="body")


def test_faults_of_the_hub(monkeypatch):
    assert "write hf:NAME or hf:NAME:CONFIG" in fault("hf:")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'stlm[data]'" in fault("hf:owner/name")
    module = types.ModuleType("datasets")

    def refuse(*arguments, **keywords):
        raise ConnectionError("no route\nto host")
    module.get_dataset_split_names = refuse
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert "cannot be had from the hub (no route); check the name and the network" in fault("hf:owner/name")


def test_real_text(real_data):
    folder = real_data / "text" / "tinystories_sample"
    train, validation = (sum(map(len, texts(folder, split))) for split in ("train", "validation"))
    assert train > 3_000_000 > 200_000 > validation > 100_000
    assert sources.open_source(str(folder)).name == "folder tinystories_sample"
