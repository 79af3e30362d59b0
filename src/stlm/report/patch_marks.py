"""A text as the model reads it: every patch in its own shade, every character as dark as it was surprising."""

from __future__ import annotations

import dataclasses
from typing import Any

FULL = 8.0  # bits at which a character is darkest: what a byte costs that could be any
SILENT = "\u00b7"  # stands for a token that is read and costs bits, but stands for no bytes


@dataclasses.dataclass(frozen=True)
class Mark:
    """One character on the page. text: what is shown; each: the bits of each of its bytes; bits: of all; shade: 0 to 1."""

    text: str
    each: tuple[float, ...]

    @property
    def bits(self) -> float:
        return sum(self.each)

    @property
    def shade(self) -> float:
        return min(1.0, self.bits / FULL)


def record(pieces: list[bytes], bits: list[float], ends: list[bool]) -> list[list[Any]]:
    """A reading for ``results.json``: a triple for each token, its bytes one character each."""
    return [[piece.decode("latin-1"), round(b, 3), int(end)] for piece, b, end in zip(pieces, bits, ends, strict=True)]


def marks(tokens: list[list[Any]]) -> list[list[Mark]]:
    """Patches of characters. Bytes that make up one character only together are shown together, in the patch of the
    last of them: a patch that ends within a character is shown to end before it.
    """
    patches: list[list[Mark]] = [[]]
    waiting, costs, ended = b"", list[float](), False
    for place, (piece, bits, end) in enumerate(tokens):
        waiting, costs = waiting + piece.encode("latin-1"), [*costs, bits]
        text = _characters(waiting)
        if text is None and place + 1 < len(tokens):
            ended = ended or bool(end)
            continue
        if ended:
            patches.append([])
        shown = text if text is not None else waiting.decode("utf-8", "replace")
        patches[-1].append(Mark(shown or SILENT, tuple(costs)))
        waiting, costs, ended = b"", [], False
        if end:
            patches.append([])
    return [patch for patch in patches if patch]


def _characters(data: bytes) -> str | None:
    """The text of ``data``; None where it may be the beginning of a character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        return None if error.reason == "unexpected end of data" and len(data) < 4 else data.decode("utf-8", "replace")
