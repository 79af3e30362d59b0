"""Byte order marks. Text in UTF-16 and UTF-32 becomes UTF-8, and marks are dropped. Other bytes stay as they are."""

from __future__ import annotations

import codecs
import io
import itertools
from collections.abc import Iterable

_UTF8 = "utf-8"
# UTF-32 comes first, because its little-endian mark begins with that of UTF-16
_MARKS = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be", codecs.BOM_UTF8: _UTF8,
          codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def utf8(data: bytes) -> bytes:
    """The bytes of a text without its mark, as UTF-8. UnicodeDecodeError if they are not what the mark says."""
    mark, encoding = _mark_of(data)
    data = data[len(mark):]
    return data if encoding == _UTF8 else data.decode(encoding).encode(_UTF8)


def utf8_lines(file: io.BufferedIOBase) -> Iterable[bytes]:
    """The same for the lines of a file. Files in UTF-8 are read line by line, others at once."""
    first = file.readline()
    mark, encoding = _mark_of(first)
    return itertools.chain([first[len(mark):]], file) if encoding == _UTF8 else io.BytesIO(utf8(first + file.read()))


def is_binary(head: bytes) -> bool:
    """Whether the beginning of a file says that it is no text: it has a zero, or isn't in the encoding of its mark."""
    mark, encoding = _mark_of(head)
    if encoding == _UTF8:
        return b"\0" in head
    try:
        return "\0" in codecs.getincrementaldecoder(encoding)().decode(head[len(mark):])
    except UnicodeDecodeError:
        return True


def _mark_of(data: bytes) -> tuple[bytes, str]:
    """The mark at the beginning, and the encoding that it stands for: UTF-8 if there is none."""
    return next(((mark, encoding) for mark, encoding in _MARKS.items() if data.startswith(mark)), (b"", _UTF8))
