"""Types of numbers with their ranges, and one check of the values of all fields.

A field says its range in its type, such as ``layers: Layers`` or ``share: Annotated[float, Range(0, 1)]``. A class that derives
from `Checked` checks the types and the ranges of its fields, wherever their values come from. Flags of commands use the same
types. Upper ends are far above any use: they keep out numbers with which a command would never end, or would fill the memory.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

IN_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_KINDS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real, str: str, bool: bool}


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers from ``least`` to ``most``. above: ``least`` itself is too small; below: ``most`` itself is too large.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False

    def fault(self, number: float) -> str | None:
        """What would be right, or None if ``number`` is."""
        if not -math.inf < number < math.inf:
            return "it has to be a finite number"
        if number < self.least or (self.above and number == self.least):
            return f"it has to be above {self.least:,}" if self.above else f"it has to be {self.least:,} or more"
        if number > self.most or (self.below and number == self.most):
            return f"it has to be below {self.most:,}" if self.below else f"it has to be {self.most:,} or less"
        return None


Count = Annotated[int, Range(1, 10**12)]
CountOrNone = Annotated[int, Range(0, 10**12)]
Size = Annotated[int, Range(1, 2**20)]  # of a dimension of a tensor
SizeOrNone = Annotated[int, Range(0, 2**20)]
Layers = Annotated[int, Range(1, 1000)]
LayersOrNone = Annotated[int, Range(0, 1000)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Share = Annotated[float, Range(0, 1)]
ShareAboveZero = Annotated[float, Range(0, 1, above=True)]
ShareBelowOne = Annotated[float, Range(0, 1, below=True)]
Positive = Annotated[float, Range(0, 10**12, above=True)]
Rate = Positive | Literal["auto"]  # of learning
Ratio = Annotated[float, Range(0, 1000, above=True)]
Weight = Annotated[float, Range(0, 10**6)]
Megabytes = Annotated[float, Range(0, 10**6, above=True)]


@dataclasses.dataclass(frozen=True)
class Checked:
    """Base of dataclasses whose fields are checked. The ``__post_init__`` of a subclass calls this one first."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, hint in hints_of(cls).items():
            check(hint, getattr(self, name), name)


@functools.cache
def hints_of(cls: Any) -> dict[str, Any]:
    """The type of every field of a dataclass, with its range."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def check(hint: Any, value: Any, name: str) -> None:
    """ValueError, which begins with ``name``, if a value isn't of this type or not in its range. Only numbers, texts, true and
    false, and lists and dicts of these are checked.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        check(arguments[0], value, name)
        _check_range(arguments[1], value, name)
    elif origin in (typing.Union, types.UnionType):
        if not (value is None and type(None) in arguments) and value not in words_of(hint):
            check(without_none(hint), value, name)
    elif origin in (tuple, list, dict):
        _check_entries(origin, arguments, value, name)
    elif hint in _KINDS:
        _check_one(hint, value, name)


def _check_one(kind: Any, value: Any, name: str) -> None:
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} = {value!r}: expected {IN_WORDS[kind]}")
    if kind is float:
        _check_range(Range(), value, name)
    if kind is str and "\0" in str(value):
        raise ValueError(f"{name} = {value!r}: a text can't have a NUL byte")


def without_none(hint: Any) -> Any:
    """``X`` of the types ``X | None`` and ``X | Literal["word"]``; any other type as it is."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    return next(argument for argument in typing.get_args(hint)
                if argument is not type(None) and typing.get_origin(argument) is not Literal)


def words_of(hint: Any) -> tuple[str, ...]:
    """The words that may stand instead of a value: those of the type ``X | Literal["word"]``."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return ()
    return tuple(word for argument in typing.get_args(hint) if typing.get_origin(argument) is Literal
                 for word in typing.get_args(argument))


def _check_range(within: Range, value: Any, name: str) -> None:
    if fault := within.fault(value):
        raise ValueError(f"{name} = {value}: {fault}")


def _check_entries(origin: Any, arguments: tuple[Any, ...], value: Any, name: str) -> None:
    if not isinstance(value, dict if origin is dict else (tuple, list)):
        raise ValueError(f"{name} = {value!r}: expected a {'dict' if origin is dict else 'list'}")
    entries: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in entries:
        check(arguments[1] if origin is dict else arguments[0], entry, f"{name}[{key!r}]")
