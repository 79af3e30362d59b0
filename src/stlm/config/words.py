"""How values are written as words of a command line: numbers, lists, true and false."""

from __future__ import annotations

import math
import re
import shlex
import signal
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from stlm.config.bounds import IN_WORDS, without_none
from stlm.errors import UserError

# No other forms are numbers, so that 0x10, full-width digits, nan and inf are refused everywhere alike.
_SPELLED = {int: re.compile(r"[+-]?[0-9_]+"), float: re.compile(r"[0-9.eE_+-]+")}


def split_list(words: str) -> list[str]:
    """The entries of a list with commas, without the spaces around them. Empty entries are left out."""
    return [entry for word in words.split(",") if (entry := word.strip())]


def read_word(hint: Any, word: str) -> Any:
    """The value of a word. A word that is no value of this type is returned unchanged, and `decode` then raises."""
    kind = without_none(hint)
    if type(None) in typing.get_args(hint) and word.lower() == "none":
        return None
    if kind is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    return _number(kind, word) if kind in _SPELLED else word


def read_number(flag: str, hint: Any, word: str) -> Any:
    """The value of a flag whose type is a number with a range. ValueError says what would be right."""
    hint = without_none(hint)
    assert typing.get_origin(hint) is Annotated
    kind, within = typing.get_args(hint)
    number = _number(kind, word)
    if type(number) is not kind:
        raise ValueError(f"{flag}: expected {IN_WORDS[kind]}, found {word!r}")
    if fault := within.fault(number):
        raise ValueError(f"{flag} {word}: {fault}")
    return number


def value_word(value: Any) -> str:
    """The word from which the same plain value is read."""
    if value is None:
        return "none"
    return str(int(value) if isinstance(value, float) and value.is_integer() and value < 1e15 else value)


def ended(status: int) -> str:
    """How a process ended, by the status that `subprocess` gives, such as ``was ended by SIGTERM``."""
    if status >= 0:
        return f"has ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}" + (
        ", perhaps because memory ran out" if status == -signal.SIGKILL else "")


def command(*words: str) -> str:
    """``stlm`` with these words, as they are typed in a shell."""
    return shlex.join(["stlm", *words])


def take_option(flags: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """The last value of one option, and the flags without it."""
    found, rest = None, list[str]()
    words = iter(flags)
    for word in words:
        if word == "--":
            return found, [*rest, word, *words]
        flag, equals, value = word.partition("=")
        if flag != name:
            rest.append(word)
            continue
        found = value if equals else next(words, "")
        if not found:
            raise UserError(f"{name}: a value has to follow")
    return found, rest


def _number(kind: Any, word: str) -> Any:
    """The number that a word spells, as 12, -3, 1_000 or 1e-3; the word itself if it spells no finite number of this kind."""
    try:
        number = kind(word) if _SPELLED[kind].fullmatch(word) else math.nan
    except ValueError:
        return word
    return number if -math.inf < number < math.inf else word
