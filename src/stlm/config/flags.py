"""Command-line flags for every field of a config.

Two steps, because a slot's kind decides which fields there are: the kinds are read first (``--model.patching stride``),
then `tyro` parses all the other flags over the default that results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from stlm.config.decode import alternatives, decode, field_types
from stlm.config.slot import did_you_mean, slot_of
from stlm.errors import UserError

T = TypeVar("T")


def parse(default: T, arguments: list[str], program: str, shorthands: dict[str, str] | None = None) -> T:
    """``default`` changed by ``arguments``; ``--help`` prints every field with its default and exits.

    ``shorthands`` maps a flag to the field that it stands for, as ``{"--data": "data.source"}``.
    """
    import tyro

    arguments = [_longhand(argument, shorthands or {}) for argument in arguments]
    default, rest = _choose_kinds(default, arguments)
    known = [f"--{path.replace('_', '-')}" for path in _leaves(default)]
    for argument in rest:
        flag = argument.partition("=")[0].replace("_", "-")
        if argument.startswith("--") and flag not in known and flag not in ("--help",):
            raise UserError(f"there is no flag {flag}{did_you_mean(flag, known)}; `{program} --help` lists them")
    rest += _dropped(default, {argument.partition("=")[0].replace("_", "-") for argument in rest})
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(type(default), default=default, args=rest, prog=program,
                            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(said.getvalue())) from None
    except ValueError as error:
        raise UserError(str(error)) from None


def _longhand(argument: str, shorthands: dict[str, str]) -> str:
    flag, equals, value = argument.partition("=")
    return f"--{shorthands[flag]}{equals}{value}" if flag in shorthands else argument


def _choose_kinds(default: T, arguments: list[str]) -> tuple[T, list[str]]:
    """Take the flags that choose a slot's kind out of ``arguments`` and into ``default``."""
    slots = {f"--{path}": path for path in _slots(default)}
    rest: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        flag, equals, value = argument.partition("=")
        path = slots.get(flag.replace("-", "_").replace("__", "--", 1))
        if path is None:
            rest.append(argument)
            continue
        kind = value if equals else next(pending, None)
        if kind is None:
            raise UserError(f"{flag}: the name of a kind has to follow")
        change: Any = kind
        for name in reversed(path.split(".")):
            change = {name: change}
        default = decode(type(default), change, default, check=False)  # kinds that only go together come one after the other
    return default, rest


def _slots(config: Any, prefix: str = "") -> Iterator[str]:
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        if slot_of(hint) is not None:
            yield prefix + name
        if dataclasses.is_dataclass(value):
            yield from _slots(value, f"{prefix}{name}.")


def _leaves(config: Any, prefix: str = "") -> Iterator[str]:
    for name in field_types(type(config)):
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _dropped(config: Any, given: set[str], prefix: str = "--") -> list[str]:
    """Flags that clear the fields for which an alternative was given."""
    out: list[str] = []
    for name in field_types(type(config)):
        if dataclasses.is_dataclass(value := getattr(config, name)):
            out += _dropped(value, given, f"{prefix}{name.replace('_', '-')}.")
    for group in alternatives(type(config)):
        flags = {prefix + name.replace("_", "-") for name in group}
        if flags & given:
            out += [word for flag in sorted(flags - given) for word in (flag, "None")]
    return out


def _one_line(box: str) -> str:
    """The text inside tyro's framed message, on one line."""
    lines = [re.sub(r"[\u2500-\u257f]+", "", line).strip() for line in box.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("For full helptext"))
