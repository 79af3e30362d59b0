"""Standard streams that take every text: those of other encodings than UTF-8, and those that are closed."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys

ERRORS = "stlm"  # the name of the way in which characters are written that a stream's encoding lacks
_SIMPLE = {"\u00b1": "+-", "\u2026": "...", "\u00b7": ".", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'"}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")  # a terminal would obey these


def prepare() -> None:
    """Make the standard streams writable. A closed one is replaced, so that no file that is opened later gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def flush_or_discard() -> None:
    """Write what standard output holds back. If that fails, it leads nowhere from here on, because Python would try again."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def printable(text: str) -> str:
    """``text`` with control characters in the form ``\\x1b``, except for line ends and tabs."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """The same in one line."""
    return re.sub(r"[\n\t]", lambda found: found[0].encode("unicode_escape").decode("ascii"), printable(text))


def is_utf8(encoding: str | None) -> bool:
    """Whether this is the name of UTF-8."""
    try:
        return codecs.lookup(encoding or "utf-8").name == "utf-8"
    except LookupError:
        return False


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Something similar for characters that can't be encoded. Bytes of names that aren't UTF-8 are shown as ``\\xff``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start:error.end]
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else _SIMPLE.get(c, "?") for c in found), error.end


codecs.register_error(ERRORS, _replaced)
