"""``stlm patches``."""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.text import Text

from stlm.cli.console import Console
from stlm.cli.parser import Parser
from stlm.cli.streams import is_utf8
from stlm.data.concat import open_sources
from stlm.errors import UserError
from stlm.evaluate.surprise import Reading, read
from stlm.report.patch_marks import Mark, marks, record
from stlm.train.device import pick_device
from stlm.train.folder import find_checkpoint

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # from 0 bits to 8 bits or more
DIGITS = "01234567"  # the same where there are no bars
SHADES = ("black on #dbe4f0", "black on #f3e3d3")
READ = 600  # bytes of a given text that are shown
SHOWN = {"\n": "\u21b5", "\t": "\u2192", "\r": "\u21b5"}
HIDDEN = "\u25a1"  # for characters that have no look of their own
NO_BASE = "\u25cc"  # below a mark that has no character to stand on
LEFT_TO_RIGHT, END = "\u202d", "\u202c"


def run(arguments: list[str]) -> int:
    parser = Parser("patches")
    parser.text("words", nargs="+")
    parser.text("--text")
    parser.text("--field")
    given = parser.parse_args(arguments)
    names, text = _asked(given)
    console = Console(stderr=False)
    for name in names:
        checkpoint = find_checkpoint(name)
        model = checkpoint.build_model().to(pick_device())
        reading = read(model, checkpoint.tokenizer, text)
        n_bytes, ends = sum(map(len, reading.pieces)), sum(reading.ends)
        console.say(f"{name}: {sum(reading.bits) / n_bytes:.2f} bits per byte, {n_bytes / max(1, ends):.1f} bytes a patch")
        for line in lines(reading, console.width, console.coloured, console.encoding):
            console.print(line, no_wrap=True, crop=False, soft_wrap=True)
        console.print()
    return 0


def _asked(given: argparse.Namespace) -> tuple[list[str], bytes]:
    """The runs, and the text: the last word, or the beginning of the first document of ``--text``."""
    if given.field is not None and given.text is None:
        raise UserError("--field: it names the field of a given text; give --text too")
    if given.text is None:
        *names, text = given.words
        found = text.encode("utf-8", errors="surrogateescape")
    else:
        names, found = given.words, next(open_sources(given.text, field=given.field or "text").to_score(), b"")[:READ]
    if not names or not found:
        raise UserError("give a run and a text; `stlm patches --help` says how")
    return names, found


def lines(reading: Reading, width: int, colour: bool, encoding: str = "utf-8") -> list[Text]:
    """Pairs of lines. The first has the text; patches alternate in shade or, without colour, are separated by bars. The second
    has a bar under each character that shows its bits.
    """
    bars = BARS if is_utf8(encoding) else DIGITS
    out: list[Text] = []
    above, below, used = Text(), Text(), 0

    def add(shown: str, bar: str, style: str) -> None:
        nonlocal above, below, used
        size = cell_len(shown)
        if used and used + size > width:
            out.extend((_left_to_right(above), below))
            above, below, used = Text(), Text(), 0
        above.append(shown, style)
        below.append(bar + " " * (size - 1), "dim")
        used += size

    for index, patch in enumerate(marks(record(reading.pieces, reading.bits, reading.ends))):
        if index and not colour:
            add("|", " ", "")
        for mark in _cells(patch, encoding):
            add(mark.text, bars[min(len(bars) - 1, int(mark.shade * len(bars)))], SHADES[index % 2] if colour else "")
    return [*out, _left_to_right(above), below]


def _cells(patch: Iterable[Mark], encoding: str) -> Iterator[Mark]:
    """The characters of a patch as they are shown, each one column wide or wider. Accents and other marks without a width of
    their own are shown with the character before them, and their bits count there.
    """
    last: Mark | None = None
    for mark in patch:
        shown = "".join(map(_visible, mark.text)).encode(encoding, "replace").decode(encoding)
        if last is not None and not cell_len(shown):
            last = Mark(last.text + shown, last.each + mark.each)
            continue
        if last is not None:
            yield last
        last = Mark(shown if cell_len(shown) else NO_BASE + shown, mark.each)
    if last is not None:
        yield last


def _visible(character: str) -> str:
    """A character as it is shown. Those that a terminal would obey, or join others with, have no look of their own."""
    if character in SHOWN:
        return SHOWN[character]
    return HIDDEN if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def _left_to_right(line: Text) -> Text:
    """The line in the order of its bars, where a terminal would turn the order around."""
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in line.plain):
        return Text(LEFT_TO_RIGHT) + line + Text(END)
    return line
