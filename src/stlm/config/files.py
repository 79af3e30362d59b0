"""The user's TOML files: the line ``base = "10m"`` and the lines that change."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from stlm.config.decode import decode
from stlm.config.suggest import did_you_mean
from stlm.errors import UserError

T = TypeVar("T")


def load(name: str, presets: dict[str, Callable[[], T]]) -> T:
    """The config of a preset's name or a TOML file's path. A file's ``base`` may be another file."""
    if name in presets:
        return presets[name]()
    path = Path(name)
    if path.suffix != ".toml":
        raise UserError(f"there is no preset {name!r}{did_you_mean(name, list(presets))}; "
                        f"the presets are {', '.join(presets)}, or give a file that ends in .toml")
    return _load_toml(path, presets, seen=())


def _load_toml(path: Path, presets: dict[str, Callable[[], T]], seen: tuple[Path, ...]) -> T:
    try:
        if path.resolve() in seen:
            raise UserError(f"{path}: this file is its own base, directly or through other files; "
                            "let one of them name a preset")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; give a preset ({', '.join(presets)}) or a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:  # wrong TOML is a ValueError, as is a number of thousands of digits
        raise UserError(f"{path}: not a readable TOML file: {error}") from None
    base_name = values.pop("base", None)
    if not isinstance(base_name, str):
        raise UserError(f"{path}: the line base = \"PRESET\" is missing; the presets are {', '.join(presets)}")
    if base_name in presets:
        base = presets[base_name]()
    elif base_name.endswith(".toml"):
        base = _load_toml(path.parent / base_name, presets, (*seen, path.resolve()))
    else:
        raise UserError(f"{path}: base: there is no preset {base_name!r}{did_you_mean(base_name, list(presets))}; "
                        f"the presets are {', '.join(presets)}")
    try:
        return decode(type(base), values, base)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file. UserError if it is missing or damaged, or holds a number that is not finite."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe could wait for ever
            raise UserError(f"{path}: not a file")
        return strict_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON record: {error}") from None


def strict_json(text: bytes) -> Any:
    """The value of a JSON text in UTF-8. ValueError or RecursionError if it is none: NaN and Infinity aren't JSON."""
    return json.loads(text.decode("utf-8"), parse_constant=_finite, parse_float=_finite)


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not a finite number")
    return number


def read_table(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds a table. UserError if it holds anything else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a record of stlm, which is a table of fields")
    return found


def decode_record(cls: type[T], values: object, where: str) -> T:
    """`decode` for what a program has written. UserError says that it was another version if the fields aren't those of this
    one.
    """
    try:
        return decode(cls, values, where=where)
    except UserError as error:
        raise UserError(f"{error}; another version of stlm has written it, or it was changed by hand") from None
