"""``stlm unzip``."""

from __future__ import annotations

from stlm.cli.zip import convert
from stlm.evaluate.archive import unpack


def run(arguments: list[str]) -> int:
    convert("unzip", arguments, unpack)
    return 0
