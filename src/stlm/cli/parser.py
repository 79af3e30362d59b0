"""The arguments of a verb: names, paths, texts and numbers, read alike in all verbs.

The last of several values of a flag counts. Words after ``--`` are no flags, however they begin.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stlm.cli.usage import flags_of, verb_usage
from stlm.config.flags import HELP
from stlm.config.suggest import flag_meant
from stlm.config.words import read_number
from stlm.errors import UserError


class Parser(argparse.ArgumentParser):
    """The arguments of one verb. Wrong arguments raise UserError. The help is in `usage`."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=f"stlm {verb}", add_help=False, allow_abbrev=False)
        self.verb = verb

    def number(self, flag: str, hint: Any, default: float | None = None) -> None:
        """A flag whose value is a number of this type, such as `Count`."""
        self.add_argument(flag, type=functools.partial(_number, flag, hint), default=default)

    def text(self, *names: str, **more: Any) -> None:
        """A name, or a flag whose value is a text. It isn't empty."""
        self.add_argument(*names, type=functools.partial(_filled, names[-1], str), **more)

    def path(self, *names: str, **more: Any) -> None:
        """The same for a path."""
        self.add_argument(*names, type=functools.partial(_filled, names[-1], _path), **more)

    def parse_args(self, args: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        words = list(args)
        if any(word in HELP for word in words[:words.index("--") if "--" in words else None]):
            print(verb_usage(self.verb))
            raise SystemExit(0)
        given, others = self.parse_known_args(words)
        for word in others:
            if word.startswith("-"):
                raise no_flag(self.verb, word)
        if others:
            self.error(f"{others[0]!r} is one word too many: put quotes around a text with spaces")
        return given

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` says what it takes")


def no_flag(verb: str, word: str) -> UserError:
    """The error for an unknown flag of a verb, with a suggestion."""
    flag = word.partition("=")[0]
    return UserError(f"there is no flag {flag}{flag_meant(flag, flags_of(verb))}; `stlm {verb} --help` lists them "
                     "(a text that begins with a dash comes after --)")


def first_name(verb: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The name that a verb begins with, and its flags."""
    name, *flags = arguments or [""]
    if not name or name.startswith("-"):
        raise UserError(f"{name!r}: a name has to stand here; `stlm {verb} --help` says what it takes")
    return name, flags


def _number(flag: str, hint: Any, word: str) -> float:
    try:
        return read_number(flag, hint, word)
    except ValueError as error:
        raise UserError(str(error)) from None


def _filled(name: str, make: Callable[[str], Any], word: str) -> Any:
    if not word:
        raise UserError(f"{name}: it can't be empty")
    return make(word)


def _path(word: str) -> Path:
    return Path(os.path.expanduser(word))
