"""File formats: the content of a file as documents of bytes.

The suffix decides the format. ``.jsonl`` and ``.ndjson`` hold one document per line, ``.parquet`` one
per row. Any other file is one document, byte for byte. Each may be compressed as ``.gz`` or ``.zst``.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stlm.errors import UserError

PACKED = (".gz", ".zst")
LINES = (".jsonl", ".ndjson")
TABLES = (".parquet",)
# suffixes that count as text when a whole folder is read; a file that is named itself is always read
PLAIN = tuple(
    ".txt .text .md .markdown .rst .adoc .org .tex .bib .html .htm .xml .css .scss .csv .tsv "
    ".json .yaml .yml .toml .ini .cfg .log .srt .vtt .py .pyi .ipynb .c .h .cc .cpp .hpp .cs "
    ".java .kt .scala .go .rs .swift .js .jsx .ts .tsx .vue .rb .php .pl .lua .r .jl .m .sh .bash "
    ".ps1 .sql .hs .ml .ex .exs .erl .clj .lisp .scm .el .vim .tcl .f90 .adb .v .vhd .zig .nim "
    ".d .dart .proto .cmake .mk".split())
READABLE = (*PLAIN, *LINES, *TABLES)
# formats of data sets: names of these files and of their folders may say which split they hold
DATA_KINDS = (".txt", ".text", ".md", ".csv", ".tsv", ".json", *LINES, *TABLES)
_SKIPPED = ("__pycache__", "node_modules")
_HEAD = 8192  # a file with a zero byte in its first so many bytes is binary
_BLOCK = 1 << 16  # bytes read at once from a compressed file
_ROWS = 1024  # rows of a table in memory at once
_CHOOSE = "choose one with --data.field"


def readable_files(folder: Path) -> list[Path]:
    """Files of a folder and its subfolders whose names say that they are text, sorted by path.

    Hidden files and folders are skipped, and so are links to folders. Raises OSError if a folder can't
    be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [n for n in folders if not n.startswith(".") and n not in _SKIPPED]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    readable = [path for path in found if kind_of(path) in READABLE and path.is_file()]
    return sorted(readable, key=lambda path: path.relative_to(folder).as_posix())


def documents_of(path: Path, field: str, *, skip_binary: bool = False) -> Iterator[bytes]:
    """Documents of one file. Empty ones are left out.

    field: the field of jsonl and parquet files that holds the text. Their text is returned as UTF-8.
    skip_binary: return nothing for a plain file with a zero byte in its first 8 kB.
    Raises UserError, with the file and line, if the file is damaged or lacks the field.
    """
    read = {**dict.fromkeys(LINES, _texts), **dict.fromkeys(TABLES, _rows)}.get(kind_of(path))
    with _faults(path), _opened(path) as file:
        yield from read(file, path, field) if read else _whole(file, skip_binary)


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a jsonl or parquet file, with all their fields. Errors are those of `documents_of`."""
    with _faults(path), _opened(path) as file:
        if kind_of(path) in TABLES:
            with _table(file, path) as table:
                for batch in table.iter_batches(batch_size=_ROWS):
                    yield from batch.to_pylist()
            return
        for where, record in _lines(file, path):
            if not isinstance(record, dict):
                raise UserError(f"{where}: this isn't a JSON object; each line has to be one")
            yield record


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: a damaged {path.suffix} file ({reason(error)}); "
                        "compress it or download it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def text_of(record: object, field: str, where: str) -> bytes:
    """The string in the field ``field`` of a record, as UTF-8. UserError if there is none."""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: this isn't a JSON object; each line has to be one, such as "
                        f'{{"{field}": "..."}}')
    if field not in record:
        names = ", ".join(map(repr, record)) or "none"
        raise UserError(f"{where}: there is no field {field!r}; the fields are {names}; {_CHOOSE}")
    value = record[field]
    if not isinstance(value, str):
        texts = ", ".join(repr(name) for name, other in record.items() if isinstance(other, str))
        raise UserError(f"{where}: the field {field!r} holds {type(value).__name__}, not a string; "
                        f"the fields with strings are {texts or 'none'}; {_CHOOSE}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: the field {field!r} holds half a surrogate pair at character "
                        f"{error.start}, which UTF-8 cannot hold; correct or delete the line") from None


def unreadable(path: Path | str, error: OSError) -> UserError:
    """The error for a file or folder that the system can't read."""
    return UserError(f"{path}: cannot be read ({reason(error)}); "
                     "check that it is complete and that you may read it")


def reason(error: Exception) -> str:
    """The message of an error, as one line."""
    message = getattr(error, "strerror", None) or str(error).strip()
    return message.splitlines()[0] if message else type(error).__name__


def kind_of(path: Path) -> str:
    """The suffix of a file's format, in lower case, without the suffix of its compression."""
    inner = Path(path.stem) if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, so that its size says little about the length of its text."""
    return path.suffix.lower() in PACKED or kind_of(path) in TABLES


def _opened(path: Path) -> io.BufferedIOBase:
    """A stream of a file's uncompressed bytes. Several compressed parts are read one after the other."""
    packing = path.suffix.lower()
    if packing == ".gz":
        return gzip.open(path, "rb")
    if packing == ".zst":
        return io.BufferedReader(_ZstdFrames(open(path, "rb")), _BLOCK)
    return open(path, "rb")


class _ZstdFrames(io.RawIOBase):
    """The uncompressed frames of a zstd file.

    zstandard's own stream reader raises no error for an incomplete file; this one does. Raises EOFError if
    the last frame has no end, and zlib.error, like gzip, if a frame is damaged.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        import zstandard  # imported here, because everything else works without it

        self._file, self._fault = file, zstandard.ZstdError
        # 2 GiB is the widest window that zstd writes (--long=31)
        self._context = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None  # the frame that is being read
        self._packed, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._file.read(_BLOCK)
            if not self._packed:
                if self._frame:
                    raise EOFError("it ends within a frame")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _unpack(self) -> None:
        self._frame = self._frame or self._context.decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._fault as error:
            raise zlib.error(str(error)) from None
        self._packed = b""
        if self._frame.eof:
            self._packed, self._frame = self._frame.unused_data, None

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole(file: io.BufferedIOBase, skip_binary: bool) -> Iterator[bytes]:
    head = file.read(_HEAD) if skip_binary else b""
    if b"\0" not in head and (document := head + file.read()):
        yield document


def _lines(file: io.BufferedIOBase, path: Path) -> Iterator[tuple[str, Any]]:
    """Each line's position (file and number) and value."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            fault = getattr(error, "msg", None) or reason(error)
            raise UserError(f"{where}: this isn't JSON ({fault}); each line has to be an object, "
                            'such as {"text": "..."}') from None


def _texts(file: io.BufferedIOBase, path: Path, field: str) -> Iterator[bytes]:
    for where, record in _lines(file, path):
        if document := text_of(record, field, where):
            yield document


def _rows(file: io.BufferedIOBase, path: Path, field: str) -> Iterator[bytes]:
    """Rows of a table. A row whose text is null is no document."""
    with _table(file, path) as table:
        import pyarrow

        _check_column(table.schema_arrow, field, path)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[field]):
            # cast to bytes, so that they stay as they are in the file
            yield from filter(None, batch.column(field).cast(pyarrow.large_binary()).to_pylist())


@contextlib.contextmanager
def _table(file: io.BufferedIOBase, path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading parquet needs a package: "
                        "pip install 'stlm[data]'") from None
    try:
        # a table is read from its end, so a compressed one is uncompressed in memory first
        packed = path.suffix.lower() in PACKED
        yield parquet.ParquetFile(io.BytesIO(file.read()) if packed else file)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: a damaged parquet file ({reason(error)}); "
                        "write it or download it again") from None


def _check_column(schema: Any, field: str, path: Path) -> None:
    if field not in schema.names:
        names = ", ".join(map(repr, schema.names)) or "none"
        raise UserError(f"{path}: there is no column {field!r}; the columns are {names}; {_CHOOSE}")
    texts = [column.name for column in schema if _holds_strings(column.type)]
    if field not in texts:
        raise UserError(f"{path}: the column {field!r} holds {schema.field(field).type}, not "
                        f"strings; the columns with strings are "
                        f"{', '.join(map(repr, texts)) or 'none'}; {_CHOOSE}")


def _holds_strings(kind: Any) -> bool:
    values = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    return str(values) in ("string", "large_string", "string_view")
