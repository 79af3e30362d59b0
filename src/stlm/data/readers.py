"""File formats: the content of a file as documents of bytes.

The suffix decides the format. ``.jsonl`` and ``.ndjson`` hold one document per line, ``.parquet`` one per row. Any other file
is one document, byte for byte; where it begins with a byte order mark, it is read as UTF-8 without it. Each may be compressed.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stlm.data.encoding import utf8, utf8_lines
from stlm.data.packing import Opener, TextFile, faults_named, reason
from stlm.errors import UserError

LINES = (".jsonl", ".ndjson")
TABLES = (".parquet",)
_ROWS = 1024  # rows of a table in memory at once
_CHOOSE = "choose one with --field"


def documents_of(file: TextFile, field: str, opener: Opener) -> Iterator[bytes]:
    """Documents of one file, as UTF-8. Empty ones are left out, and so are nulls.

    field: the field of jsonl and parquet files that holds the text.
    Raises UserError, with the file and line, if the file is damaged or lacks the field.
    """
    read = {**dict.fromkeys(LINES, _texts), **dict.fromkeys(TABLES, _rows)}.get(file.kind, _whole)
    with faults_named(file), opener.opened(file) as stream:
        yield from filter(None, read(stream, file, field))


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a jsonl or parquet file, with all their fields. Errors are those of `documents_of`."""
    file = TextFile(str(path), path.name)
    with Opener() as opener, faults_named(file), opener.opened(file) as stream:
        if file.kind in TABLES:
            with _table(stream, file) as table:
                for batch in table.iter_batches(batch_size=_ROWS):
                    yield from batch.to_pylist()
            return
        for where, record in _lines(stream, file):
            if not isinstance(record, dict):
                raise UserError(f"{where}: this isn't a JSON object; each line has to be one")
            yield record


def text_of(record: object, field: str, where: str) -> bytes:
    """The string in the field ``field`` of a record, as UTF-8; ``b""`` if it is null. UserError if there is no such field."""
    if record is None:
        return b""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: this isn't a JSON object; each line has to be one, such as "
                        f'{{"{field}": "..."}}')
    if field not in record:
        names = ", ".join(map(repr, record)) or "none"
        raise UserError(f"{where}: there is no field {field!r}; the fields are {names}; {_CHOOSE}")
    value = record[field]
    if value is None:
        return b""
    if not isinstance(value, str):
        texts = ", ".join(repr(name) for name, other in record.items() if isinstance(other, str))
        raise UserError(f"{where}: the field {field!r} holds {type(value).__name__}, not a string; "
                        f"the fields with strings are {texts or 'none'}; {_CHOOSE}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: the field {field!r} holds half a surrogate pair at character "
                        f"{error.start}, which UTF-8 cannot hold; correct or delete the line") from None


def _whole(stream: io.BufferedIOBase, file: TextFile, field: str) -> Iterator[bytes]:
    yield utf8(stream.read())


def _lines(stream: io.BufferedIOBase, file: TextFile) -> Iterator[tuple[str, Any]]:
    """Each line's position (file and number) and value."""
    for number, line in enumerate(utf8_lines(stream), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            fault = getattr(error, "msg", None) or reason(error)
            raise UserError(f"{where}: this isn't JSON ({fault}); each line has to be an object, "
                            'such as {"text": "..."}') from None


def _texts(stream: io.BufferedIOBase, file: TextFile, field: str) -> Iterator[bytes]:
    for where, record in _lines(stream, file):
        yield text_of(record, field, where)


def _rows(stream: io.BufferedIOBase, file: TextFile, field: str) -> Iterator[bytes]:
    """Rows of a table; None where the text is null."""
    with _table(stream, file) as table:
        import pyarrow

        _check_column(table.schema_arrow, field, file)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[field]):
            # cast to bytes, so that they stay as they are in the file
            yield from batch.column(field).cast(pyarrow.large_binary()).to_pylist()


@contextlib.contextmanager
def _table(stream: io.BufferedIOBase, file: TextFile) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{file}: reading parquet needs a package: "
                        "pip install 'stlm[data]'") from None
    try:
        # a table is read from its end, so a compressed one is uncompressed in memory first
        yield parquet.ParquetFile(io.BytesIO(stream.read()) if file.packed else stream)
    except pyarrow.ArrowException as error:
        raise UserError(f"{file}: a damaged parquet file ({reason(error)}); "
                        "write it or download it again") from None


def _check_column(schema: Any, field: str, file: TextFile) -> None:
    if field not in schema.names:
        names = ", ".join(map(repr, schema.names)) or "none"
        raise UserError(f"{file}: there is no column {field!r}; the columns are {names}; {_CHOOSE}")
    texts = [column.name for column in schema if _holds_strings(column.type)]
    if field not in texts:
        raise UserError(f"{file}: the column {field!r} holds {schema.field(field).type}, not "
                        f"strings; the columns with strings are "
                        f"{', '.join(map(repr, texts)) or 'none'}; {_CHOOSE}")


def _holds_strings(kind: Any) -> bool:
    values = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    return str(values) in ("string", "large_string", "string_view", "null")  # a column of nulls has no documents
