"""File formats: what a file holds, as documents of bytes."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stlm.errors import UserError

PACKED = (".gz", ".zst")
LINES = (".jsonl", ".ndjson")
TABLES = (".parquet",)
PLAIN = tuple(
    ".txt .md .rst .text .org .tex .html .htm .xml .css .csv .tsv .json .yaml .yml .toml .ini .cfg .log .srt .py .pyi .ipynb "
    ".c .h .cc .cpp .hpp .cs .java .kt .scala .go .rs .swift .js .jsx .ts .tsx .vue .rb .php .pl .lua .r .jl .m .sh .bash "
    ".sql .hs .ml .ex .exs .erl .clj .lisp .scm .el .vim .tcl .f90 .ada .adb .v .vhd .zig .nim .d .dart .proto .cmake "
    ".mk".split())
READABLE = (*PLAIN, *LINES, *TABLES)
_BLOCK = 1 << 20


def kind_of(path: Path) -> str:
    """The suffix that says what a file holds, without that of its packing."""
    inner = Path(path.stem) if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def documents_of(path: Path, field: str) -> Iterator[bytes]:
    """Documents of one file, none of them empty.

    jsonl: one a line, the string in ``field``. parquet: one a row, likewise. All else: the file itself, byte for byte.
    Raises UserError, with file and line, where the file is damaged or lacks the field.
    """
    kind = kind_of(path)
    try:
        if kind in TABLES:
            yield from _rows(path, field)
        elif kind in LINES:
            with _opened(path) as file:
                for number, line in enumerate(file, start=1):
                    if line.strip() and (document := _field(line, field, f"{path}:{number}")):
                        yield document
        else:
            with _opened(path) as file:
                if document := file.read():
                    yield document
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: a damaged .gz file ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def looks_binary(path: Path) -> bool:
    """Whether the first 8 kB hold a zero byte, which text doesn't."""
    try:
        with _opened(path) as file:
            return b"\0" in file.read(8192)
    except (OSError, EOFError, zlib.error):
        return False  # let reading it say what is wrong


def _opened(path: Path) -> IO[bytes]:
    """The unpacked bytes of a file as a stream; all members of a packed file one after the other."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix.lower() == ".zst":
        import zstandard

        raw = zstandard.ZstdDecompressor().stream_reader(open(path, "rb"), read_across_frames=True, closefd=True)
        return io.BufferedReader(_Frames(raw, path), _BLOCK)  # type: ignore[type-var]
    return open(path, "rb")


class _Frames(io.RawIOBase):
    """A zstd stream whose faults are the user's; a stream that was cut short is one too."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        import zstandard

        try:
            data = self._stream.read(len(buffer))
        except zstandard.ZstdError as error:
            raise UserError(f"{self._path}: a damaged .zst file ({error})") from None
        buffer[:len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _field(line: bytes, field: str, where: str) -> bytes:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not a line of JSON ({error})") from None
    if not isinstance(record, dict) or field not in record:
        names = ", ".join(map(repr, record)) if isinstance(record, dict) else "none: it isn't an object"
        raise UserError(f"{where}: there is no field {field!r}; the fields are {names}; choose one with --data.field")
    return _encoded(record[field], field, where)


def _encoded(value: object, field: str, where: str) -> bytes:
    if not isinstance(value, str):
        raise UserError(f"{where}: the field {field!r} holds {type(value).__name__}, not a text; choose one with --data.field")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{where}: the text holds half of a surrogate pair, which isn't Unicode text") from None


def _rows(path: Path, field: str) -> Iterator[bytes]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading parquet needs pyarrow: pip install 'stlm[data]'") from None
    if path.suffix.lower() in PACKED:
        with _opened(path) as file:
            source: io.BytesIO | Path = io.BytesIO(file.read())
    else:
        source = path
    try:
        table = parquet.ParquetFile(source)
        if field not in table.schema_arrow.names:
            raise UserError(f"{path}: there is no column {field!r}; the columns are "
                            f"{', '.join(map(repr, table.schema_arrow.names))}; choose one with --data.field")
        row = 0
        for batch in table.iter_batches(columns=[field]):
            for value in batch.column(0):
                row += 1
                if value.is_valid and (document := _encoded(value.as_py(), field, f"{path}, row {row}")):
                    yield document
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: a damaged parquet file ({str(error).splitlines()[0]})") from None
