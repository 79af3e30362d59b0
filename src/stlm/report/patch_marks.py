"""A text as the model reads it. Patches alternate in shade, and a character is darker the more bits it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

FULL = 8.0  # bits at which a character is darkest: a byte takes so many if all bytes are equally likely
SILENT = "\u00b7"  # shown for a token that takes bits but has no bytes


@dataclasses.dataclass(frozen=True)
class Mark:
    """One character on the page. text: the shown text. each: the bits of each of its tokens. bits: their sum. shade: 0 to 1."""

    text: str
    each: tuple[float, ...]

    @property
    def bits(self) -> float:
        return sum(self.each)

    @property
    def shade(self) -> float:
        return min(1.0, self.bits / FULL)


def record(pieces: list[bytes], bits: list[float], ends: list[bool]) -> list[list[Any]]:
    """A reading for ``results.json``: for each token its bytes (one Latin-1 character each), its bits, and 1 if a patch ends.
    """
    return [[piece.decode("latin-1"), round(b, 3), int(end)] for piece, b, end in zip(pieces, bits, ends, strict=True)]


def marks(tokens: list[list[Any]]) -> list[list[Mark]]:
    """Patches of characters. The bytes of one character are shown together, in the patch of its last byte. So a patch that ends
    inside a character is shown as ending before it.
    """
    patches: list[list[Mark]] = [[]]
    waiting, costs, ended = b"", list[float](), False
    for index, (piece, bits, end) in enumerate(tokens):
        waiting, costs = waiting + piece.encode("latin-1"), [*costs, bits]
        text = _characters(waiting)
        if text is None and index + 1 < len(tokens):
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
    """The text of ``data``, or None if it may be an incomplete character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        return None if error.reason == "unexpected end of data" and len(data) < 4 else data.decode("utf-8", "replace")
