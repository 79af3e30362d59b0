"""Files that are written whole or not at all, and JSON without NaN and Infinity."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stlm.errors import UserError


def to_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON. Numbers that JSON doesn't have, NaN and infinities, become null."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, as `write_whole` does."""
    write_whole(path, to_json(value, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file in one move: even after a crash it is either the old one or the new one, never a part. UserError if it can't
    be written.

    A link stays a link, and the file that it points to is replaced. What is no file, such as a device or a pipe, stays where it
    is and takes the text.
    """
    write_bytes_whole(path, text.encode("utf-8", "replace"))  # names of files may have bytes that aren't UTF-8


def write_bytes_whole(path: Path, data: bytes) -> None:
    """The same for bytes."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".writing-{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def append_lines(path: Path, records: Iterable[Any]) -> None:
    """Add records to a JSON-lines file. UserError if it can't be written."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(to_json(record) + "\n" for record in records)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def check_folder(folder: Path) -> None:
    """UserError if a folder can't be written to, or can't be made."""
    for near in (folder, *folder.absolute().parents):
        if os.path.isdir(near):
            if not os.access(near, os.W_OK | os.X_OK):
                raise UserError(f"{folder}: cannot be written ({near} may not be changed by you, or is on a disk that is read "
                                "only)")
            return
        if os.path.lexists(near):
            raise UserError(f"{folder}: cannot be written ({near} is no folder)")
