"""Command-line flags for every field of a config.

Flags are read in two steps, because a slot's kind decides which fields there are. First the kinds are read
(``--model.patching stride``). They decide which flags exist and what type their values have. Then all flags become one table
of values, and the table is decoded like a file's.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from stlm.config.decode import decode, field_types
from stlm.config.help import Field, Row, fields_of, page, show
from stlm.config.slot import kinds, resolve
from stlm.config.suggest import flag_meant
from stlm.config.words import read_word, split_list
from stlm.errors import UserError

T = TypeVar("T")
HELP = ("-h", "--help")


@dataclasses.dataclass(frozen=True)
class Given:
    """One flag of the command line.

    flag: as typed. path: the field that it names, such as ``model.trunk.heads``. words: what follows it.
    """

    flag: str
    path: str
    words: list[str]


def parse(default: T, arguments: list[str], program: str, shorthands: dict[str, str] | None = None,
          own: Sequence[Row] = ()) -> T:
    """``default`` changed by ``arguments``. ``--help`` prints every field with its value and exits.

    shorthands: short flags and the fields that they stand for, such as ``{"--data": "data.source"}``. own: rows of the help
    for flags that the program itself reads.
    """
    flags = _split([argument for argument in arguments if argument not in HELP], shorthands or {}, program)
    chosen = _choose_kinds(default, flags)
    if any(argument in HELP for argument in arguments):
        show(page(chosen, program, own, shorthands))
        raise SystemExit(0)
    fields = {field.path: field for field in fields_of(chosen)}
    values: dict[str, Any] = {}
    for given in flags:
        if given.path not in fields:
            meant = flag_meant(given.flag, _known(fields, shorthands or {}, own), *_not_chosen(fields))
            raise UserError(f"there is no flag {given.flag}{meant}; `{program} --help` lists them")
        _put(values, given, fields[given.path])
    return decode(type(default), values, default)


def _split(arguments: list[str], shorthands: dict[str, str], program: str) -> list[Given]:
    found: list[Given] = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            path = shorthands.get(flag, flag.removeprefix("--").replace("-", "_"))
            found.append(Given(flag, path, [value] if equals else []))
        elif not found:
            raise UserError(f"{argument!r}: a flag was expected here, such as --seed 1; `{program} --help` lists them")
        else:
            found[-1].words.append(argument)
    return found


def _choose_kinds(default: T, flags: list[Given]) -> T:
    """``default`` with the chosen kinds, outer slots first. Fields aren't checked yet, because more of them follow."""
    for given in sorted(flags, key=lambda given: given.path.count(".")):
        if any(field.path == given.path and field.slot for field in fields_of(default)):
            change: Any = _one(given, "the name of a kind")
            for name in reversed(given.path.split(".")):
                change = {name: change}
            default = decode(type(default), change, default, check=False)
    return default


def _put(values: dict[str, Any], given: Given, field: Field) -> None:
    """Write one flag into the table ``values``, at the place that its field has in a file."""
    *tables, name = [*given.path.split("."), *(["kind"] if field.slot else [])]
    for table in tables:
        values = values.setdefault(table, {})
    values[name] = _one(given, "the name of a kind") if field.slot else _value(field.hint, given)


def _value(hint: Any, given: Given) -> Any:
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return [read_word(inner, part) for word in given.words for part in split_list(word)]
    return read_word(hint, _one(given, "true or false" if hint is bool else "a value"))


def _one(given: Given, what: str) -> str:
    if not any(given.words):
        raise UserError(f"{given.flag}: {what} has to follow")
    if len(given.words) > 1:
        raise UserError(f"{given.flag} {' '.join(given.words)}: only one value may follow; quote a value that has spaces")
    return given.words[0]


def _known(fields: dict[str, Field], shorthands: dict[str, str], own: Sequence[Row]) -> dict[str, str]:
    """All flags, each with its help text."""
    return ({field.flag: field.text for field in fields.values()} | dict.fromkeys(shorthands, "")
            | {flag.split()[0]: text for flag, text in own})


def _not_chosen(fields: dict[str, Field]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Fields of kinds that aren't chosen, and names of all kinds, each with the flags that choose such a kind."""
    others: dict[str, list[str]] = {}
    names: dict[str, list[str]] = {}
    for field in fields.values():
        for kind in kinds(field.slot) if field.slot else []:
            choice = f"{field.flag} {kind}"
            names.setdefault(kind.replace("_", "-"), []).append(choice)
            try:
                config = resolve(field.slot, kind, field.path) if field.slot else None
            except ImportError:  # it needs a package that isn't installed
                continue
            for name in field_types(config) if config else ():
                if f"{field.path}.{name}" not in fields:
                    others.setdefault(f"{field.path}.{name}".replace("_", "-"), []).append(choice)
    return others, names
