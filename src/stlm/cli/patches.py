"""``stlm patches``."""

from __future__ import annotations

import sys

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stlm.cli.runs import take_option
from stlm.data.concat import open_sources
from stlm.errors import UserError
from stlm.evaluate.surprise import Reading, read
from stlm.report.patch_marks import Mark, marks, record
from stlm.train.folder import find_checkpoint
from stlm.train.machine import pick_device

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # from 0 bits to 8 bits or more
SHADES = ("black on #dbe4f0", "black on #f3e3d3")
READ = 600  # bytes of a given text that are shown
SHOWN = {"\n": "\u21b5", "\t": "\u2192", "\r": "\u21b5"}


def run(arguments: list[str]) -> int:
    names, text = _asked(arguments)
    console = Console(file=sys.stdout)
    for name in names:
        checkpoint = find_checkpoint(name)
        model = checkpoint.build_model().to(pick_device())
        reading = read(model, checkpoint.tokenizer, text)
        n_bytes, ends = sum(map(len, reading.pieces)), sum(reading.ends)
        console.print(f"{name}: {sum(reading.bits) / n_bytes:.2f} bits per byte, {n_bytes / max(1, ends):.1f} bytes a patch",
                      highlight=False)
        for line in lines(reading, console.width, colour=console.is_terminal):
            console.print(line, no_wrap=True, crop=False, soft_wrap=True)
        console.print()
    return 0


def _asked(arguments: list[str]) -> tuple[list[str], bytes]:
    """The runs, and the text: the last word, or the beginning of the first document of ``--text``."""
    source, words = take_option(arguments, "--text")
    field, words = take_option(words, "--field")
    if field is not None and source is None:
        raise UserError("--field: it names the field of a given text; give --text too")
    if source is None:
        *names, text = words or [""]
        found = text.encode("utf-8", errors="surrogateescape")
    else:
        names, found = words, next(open_sources(source, field=field or "text").to_score(), b"")[:READ]
    if not names or not found:
        raise UserError("give a run and a text; `stlm patches --help` says how")
    return names, found


def lines(reading: Reading, width: int, colour: bool) -> list[Text]:
    """Pairs of lines. The first has the text; patches alternate in shade or, without colour, are separated by bars. The second
    has a bar under each character that shows its bits.
    """
    out: list[Text] = []
    above, below = Text(), Text()

    def add(shown: str, bar: str, style: str) -> None:
        nonlocal above, below
        size = cell_len(shown)
        if above.cell_len + size > width:
            out.extend((above, below))
            above, below = Text(), Text()
        above.append(shown, style)
        below.append(bar + " " * (size - 1), "dim")

    for index, patch in enumerate(marks(record(reading.pieces, reading.bits, reading.ends))):
        if index and not colour:
            add("|", " ", "")
        for mark in patch:
            add(SHOWN.get(mark.text, mark.text), _bar(mark), SHADES[index % 2] if colour else "")
    return [*out, above, below]


def _bar(mark: Mark) -> str:
    return BARS[min(len(BARS) - 1, int(mark.shade * len(BARS)))]
