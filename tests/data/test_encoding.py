"""Byte order marks are recognised in every kind of file; other bytes stay as they are."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import zipfile

import pytest
from tests.data.test_sources import LINES, everything, fault, fill, jsonl

from stlm.data.encoding import is_binary, utf8
from stlm.data.sources import open_source

TEXT = "Zoë had ¾ of an apple. 🍎\r\n\tShe ate it.\n\n" * 40
MARKED = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
          "utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("encoding", MARKED)
def test_marked_text_is_read_as_utf8_however_it_is_packed(tmp_path, encoding):
    data = MARKED[encoding] + TEXT.encode(encoding)
    for name, content in (("a.txt", data), ("a.md.gz", gzip.compress(data)), ("a.lzma", lzma.compress(data, lzma.FORMAT_ALONE)),
                          ("a.zip", zipped(a=data)), ("b.zip", zipped(**{"b.csv": data}))):
        (tmp_path / name).write_bytes(content)
        assert everything(tmp_path / name) == TEXT.encode()
    assert everything(tmp_path) == TEXT.encode() * 4  # the name a.lzma doesn't say what is in it


@pytest.mark.parametrize("encoding", MARKED)
def test_marked_records(tmp_path, encoding):
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in LINES)
    (tmp_path / "a.jsonl").write_bytes(MARKED[encoding] + lines.encode(encoding))
    assert list(open_source(str(tmp_path / "a.jsonl")).to_score()) == [line.encode() for line in LINES]
    (tmp_path / "a.jsonl").write_bytes(MARKED[encoding] + (lines + '{"text": 3}\n').encode(encoding))
    assert "a.jsonl:301: the field 'text' holds int" in fault(tmp_path)


@pytest.mark.parametrize("data", [
    b"", b"a", b"\xef\xbb", b"\xff", b"\xfe\xff\xfe"[1:2], "\ufeff".encode()[1:] + b"a", b"a\xef\xbb\xbfb", b"caf\xe9\r\n\x1a",
    b"\r\n" * 9, bytes(range(1, 256)), ("a" + TEXT).encode()])
def test_bytes_without_a_mark_stay(data):
    assert utf8(data) is data and not is_binary(data)


@pytest.mark.parametrize(("data", "said"), [
    (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")[:-1], "a.txt: damaged UTF-16-LE text (truncated data at byte"),
    (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be") * 3 + b"\xd8\x00\x00a",
     "a.txt: damaged UTF-16-BE text (illegal UTF-16 surrogate"),
    (TEXT.encode("utf-16-le"), "a.txt: this is a binary file"),
    (codecs.BOM_UTF32_LE + b"words", "a.txt: this is a binary file"),
    (codecs.BOM_UTF16_LE + b"a\0\0\0" * 900, "a.txt: this is a binary file"),
    (codecs.BOM_UTF8 + b"\0" + TEXT.encode(), "a.txt: this is a binary file"),
    (codecs.BOM_UTF8 + b"a" * 999, "999 bytes"), (codecs.BOM_UTF16_BE, "0 bytes"),
])
def test_faults(tmp_path, data, said):
    assert said in fault(fill(tmp_path, {"a.txt": data}) / "a.txt")


def test_the_head_of_a_file_may_end_within_a_character(tmp_path):
    text = "x" + "🍎" * 5000
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "a.txt").write_bytes(MARKED[encoding] + text.encode(encoding))
        assert everything(tmp_path) == text.encode()


def test_an_empty_text_in_another_encoding_is_no_document(tmp_path):
    fill(tmp_path, {"a.txt": codecs.BOM_UTF16_LE, "b.txt": codecs.BOM_UTF8, "c.jsonl": jsonl(LINES)})
    assert len(list(open_source(str(tmp_path)).to_score())) == len(LINES)
