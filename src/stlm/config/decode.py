"""Decode plain values (from TOML, JSON or presets) to frozen dataclasses, and encode them back. Decoding is strict.

An unknown field, a wrong type or an unknown kind raises UserError. Its one line says where the mistake is and what would be
right.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

from stlm.config.bounds import IN_WORDS, without_none, words_of
from stlm.config.slot import Slot, kinds, resolve, slot_of
from stlm.config.suggest import did_you_mean, field_meant
from stlm.errors import UserError

T = TypeVar("T")


def field_types(cls: type) -> dict[str, Any]:
    """The resolved type of every field of a dataclass, by the field's name."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def decode(cls: type[T], values: object, base: Any = None, where: str = "", check: bool = True) -> T:
    """Build ``cls`` from a mapping. Fields that the mapping lacks come from ``base``, or from the class's defaults.

    The value of a slot is a kind's name, or a mapping whose ``kind`` is that name. A mapping without ``kind`` changes fields
    of the kind that ``base`` has. Of the fields in a group of ``alternatives`` only one is set: a new value for one sets the
    others to None. Without ``check``, fields that don't fit together are accepted, because more fields follow later.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where or cls.__name__}: expected a table of fields, found {values!r}")
    hints = field_types(cls)
    for name in values:
        if name not in hints:
            raise UserError(f"{_join(where, name)}: there is no such field{field_meant(name, list(hints))}; "
                            f"the fields are {', '.join(hints) or 'none'}")
    known = {name: getattr(base, name) for name in hints} if base is not None else {}
    given = {name: _value(hints[name], value, known.get(name, _default(cls, name)), _join(where, name), check)
             for name, value in values.items()}
    known |= dict.fromkeys(name for group in alternatives(cls) if group & given.keys() for name in group)
    missing = [f.name for f in dataclasses.fields(cls)  # type: ignore[arg-type]
               if f.name not in given and f.name not in known and _default(cls, f.name) is None
               and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where or cls.__name__}: the field {missing[0]!r} has to be given")
    try:
        return cls(**{**known, **given})
    except ValueError as error:
        if not check:
            unchecked = object.__new__(cls)
            for name in hints:
                object.__setattr__(unchecked, name, given.get(name, known.get(name, _default(cls, name))))
            return unchecked
        raise UserError(f"{where or cls.__name__}: {error}") from None


def alternatives(cls: type) -> list[set[str]]:
    """Groups of fields. At most one field of each group is set."""
    return [set(group) for group in getattr(cls, "alternatives", ())]


def encode(value: Any) -> Any:
    """A config as plain values for JSON. Dataclasses become tables, slots have their ``kind`` in them, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"kind": value.kind} if isinstance(value, Slot) else {}
        return head | {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def non_default(value: Any) -> Any:
    """`encode` without the fields that have their class's default. The result stays the same when a class gets a new field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"kind": value.kind} if isinstance(value, Slot) else {}
        return head | {f.name: non_default(item) for f in dataclasses.fields(value)
                       if (item := getattr(value, f.name)) != _default(type(value), f.name)}
    return encode(value)


def changed(before: Any, after: Any) -> dict[str, list[Any]]:
    """The fields in which two configs differ, by their paths such as ``optim.lr``: the value before and the value after."""
    one, other = dict(_leaves("", encode(before))), dict(_leaves("", encode(after)))
    return {path: [one.get(path), other.get(path)] for path in {**one, **other} if one.get(path) != other.get(path)}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for name, item in value.items():
        yield from _leaves(_join(path, name), item)


def typed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that was made in Python, checked like those of a file."""
    return {name: _value(hint, getattr(value, name), None, name, True) for name, hint in field_types(type(value)).items()}


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _default(cls: type, name: str) -> Any:
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _value(hint: Any, value: Any, known: Any, where: str, check: bool) -> Any:
    slot = slot_of(hint)
    if slot is not None:
        return _slot_value(slot, value, known, where, check)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return decode(hint, value, known, where, check)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise UserError(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
    if origin in (typing.Union, types.UnionType):
        if (value is None and type(None) in arguments) or value in (words := words_of(hint)):
            return value
        if words and isinstance(value, str):
            raise UserError(f"{where}: expected {IN_WORDS[without_none(hint)]} or {' or '.join(words)}, found {value!r}"
                            f"{did_you_mean(value, words)}")
        return _value(without_none(hint), value, known, where, check)
    if origin is tuple:
        if not isinstance(value, (list, tuple, range)):
            raise UserError(f"{where}: expected a list, found {value!r}; a list of one is [{value!r}]")
        return tuple(_value(arguments[0], item, None, f"{where}[{i}]", check) for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected a table of names and values, found {value!r}")
        return {_value(arguments[0], key, None, where, check): _value(arguments[1], item, None, f"{where}[{key!r}]", check)
                for key, item in value.items()}
    if hint is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{where}: expected {IN_WORDS.get(hint, hint)}, found {value!r}")
    return value


def _slot_value(slot: type[Slot], value: Any, known: Any, where: str, check: bool) -> Slot:
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected the name of a kind ({', '.join(kinds(slot))}) or a table, found {value!r}")
    fields = {name: item for name, item in value.items() if name != "kind"}
    if "kind" not in value:
        if known is None:
            raise UserError(f"{where}.kind: has to be given; the kinds are {', '.join(kinds(slot))}")
        return decode(type(known), fields, known, where, check)
    if not isinstance(value["kind"], str):
        raise UserError(f"{where}.kind: expected the name of a kind ({', '.join(kinds(slot))}), found {value['kind']!r}")
    config = resolve(slot, value["kind"], where)
    return decode(config, fields, known if type(known) is config else None, where, check)
