"""Any terminal: other encodings, closed streams, no width, no colour; and texts that a terminal or a library would obey."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from tests.cli.conftest import TINY, stlm
from tests.fuzz.watch import call

from stlm.cli import main, streams
from stlm.cli.console import NARROWEST, Console
from stlm.cli.display import Display
from stlm.cli.patches import lines
from stlm.config.words import command
from stlm.evaluate.surprise import Reading

MARKUP = ("[/INST]", "[bold]x[/bold]", "[/]", "[link=file:///etc]", ":smile:", "[red", "\\[x]")


def shown(text: str, encoding: str = "utf-8", show=lambda console, text: console.print(text)) -> str:
    """What a console of the verbs writes for a text."""
    console = Console()
    console.file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=streams.ERRORS, write_through=True)
    show(console, text)
    return console.file.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("text", MARKUP)
def test_nothing_is_markup(text):
    def in_table(console, text):
        table = Table(text, title=text, caption=text)
        table.add_row(text)
        console.print(table)

    def in_bar(console, text):
        with Progress(TextColumn("{task.description}", markup=False), console=console) as bar:
            bar.add_task(text)

    assert shown(text) == f"{text}\n"
    assert shown(text, show=in_table).count(text) == 4
    assert text in shown(text, show=in_bar)


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\x07b", "\x9b2J", "\x1b]0;title\x07", "back\x08", "\x00"])
def test_control_characters_do_not_reach_the_terminal(text):
    def sample(console, text):
        Display(console).sample(7, text)

    def table(console, text):
        out = Table("x")
        out.add_row(Text(text))
        console.print(out)

    for show in (lambda console, text: console.print(text), sample, table):
        found = shown(text, show=show)
        assert not [c for c in found if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"], found


@pytest.mark.parametrize(("text", "encoding", "found"), [
    ("caf\u00e9 \u00b1 1", "ascii", "caf? +- 1"), ("caf\u00e9 \u00b1 1", "latin-1", "caf\u00e9 \u00b1 1"),
    ("\u2026 \u65e5", "latin-1", "... ?"), ("caf\udce9", "utf-8", "caf\\xe9"), ("\udcff\udc80", "ascii", "\\xff\\x80")])
def test_encodings(text, encoding, found):
    assert shown(text, encoding) == f"{found}\n"


@pytest.mark.parametrize(("columns", "width"), [("1", NARROWEST), ("0", NARROWEST), ("40", 40), ("100", 100)])
def test_widths(monkeypatch, capsys, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert Console().width == width
    for words in (["--help"], ["generate", "--help"], ["train", "demo", "--help"]):
        try:
            assert main(words) == 0
        except SystemExit as ended:
            assert ended.code == 0
    assert capsys.readouterr().out.count("usage: stlm") == 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_verbs_in_every_encoding(finished, encoding, monkeypatch):
    folder, _ = finished
    monkeypatch.setenv("COLUMNS", "40")
    for words in (["params", "demo"], ["patches", "mine", "caf\u00e9 \u65e5 [bold] e\u0301\x1b[31m\udcff"],
                  ["params", "[/INST] \udcff"], ["generate", "mine", "\u65e5", "--max-bytes", "20"],
                  ["report", "na\u00efve\x1b"], ["zip", "mine", "caf\udce9", "-o", "x"]):
        outcome = call(words, folder, [folder], encoding)
        assert not outcome.faults, outcome.faults
        assert words[0] == "generate" or "\x1b" not in outcome.out + outcome.err


def reading(*pieces: str, end_after: tuple[int, ...] = ()) -> Reading:
    """A text of which each character takes as many bits as its number, and patches end after some of them."""
    return Reading([piece.encode("utf-8", "surrogateescape") for piece in pieces], [float(n) for n in range(len(pieces))],
                   [n in end_after for n in range(len(pieces))])


def plain(found: list[Text]) -> list[str]:
    return [line.plain for line in found]


@pytest.mark.parametrize(("pieces", "above", "below"), [
    (("a", "e", "\u0301", "b"), "ae\u0301b", "\u2581\u2584\u2584"),  # the accent's 2 bits add to the 1 of its letter
    (("\u65e5", "a"), "\u65e5a", "\u2581 \u2582"),
    (("a", "\u200b", "b"), "a\u25a1b", "\u2581\u2582\u2583"),
    (("a", "\x1b", "\n", "\t", "\r"), "a\u25a1\u21b5\u2192\u21b5", "\u2581\u2582\u2583\u2584\u2585"),
    (("\u0301", "a"), "\u25cc\u0301a", "\u2581\u2582"),
    (("a", "\u05d0", "b"), "\u202da\u05d0b\u202c", "\u2581\u2582\u2583"),
    (("\U0001f469", "\u200d", "\U0001f4bb"), "\U0001f469\u25a1\U0001f4bb", "\u2581 \u2582\u2583 "),
])
def test_bars_stand_under_their_characters(pieces, above, below):
    assert plain(lines(reading(*pieces), 80, colour=True)) == [above, below]


def test_bars_of_several_lines_and_patches():
    found = plain(lines(reading(*"ab\u65e5cd\u0301e", end_after=(1, 4)), 40, colour=False))
    assert found == ["ab|\u65e5cd|\u25cc\u0301e", "\u2581\u2582 \u2583 \u2584\u2585 \u2586\u2587"]
    narrow = plain(lines(reading(*"\u65e5" * 5), 4, colour=True))
    assert narrow[::2] == ["\u65e5\u65e5", "\u65e5\u65e5", "\u65e5"]
    assert all(cell_len(above) == cell_len(below) for above, below in zip(narrow[::2], narrow[1::2], strict=True))


def test_bars_without_unicode():
    assert plain(lines(reading("a", "\u65e5", "e", "\u0301"), 40, colour=True, encoding="ascii")) == ["a?e?", "0123"]
    assert plain(lines(reading("a", "\u00e9", "\u65e5"), 40, colour=True, encoding="iso8859-1")) == ["a\u00e9?", "012"]


def test_patches_without_colours_are_separated(finished, monkeypatch):
    folder, _ = finished
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = ["patches", "mine", "Anna wanted to find the red kite."]
    assert "|" not in call(words, folder).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert call(words, folder).out.count("|") >= 4


@pytest.mark.parametrize(("words", "typed"), [
    (("generate", "m", "two words"), "stlm generate m 'two words'"),
    (("generate", "m", "$HOME `x` \"y\""), "stlm generate m '$HOME `x` \"y\"'"),
    (("train", "my run [1].toml"), "stlm train 'my run [1].toml'")])
def test_commands_to_type_are_quoted(words, typed):
    assert command(*words) == typed


@pytest.mark.usefixtures("no_report")
def test_files_of_every_name_are_trained_on(capsys, tmp_path, monkeypatch):
    """Names with spaces, brackets, and bytes that aren't UTF-8 are read, recorded and shown."""
    monkeypatch.chdir(tmp_path)
    Path("my run [1].toml").write_text(TINY)
    Path("caf\udce9 [b].txt").write_bytes(b"[INST] [b] [/INST] \x1b[31m " * 600)
    status, _, err = stlm(capsys, "train", "my run [1].toml", "--data", "caf\udce9 [b].txt", "--train.steps", "2")
    assert status == 0, err
    assert Path("runs/my-run-1/results.json").exists() and "caf\\xe9 [b].txt" in err and "\x1b" not in err
    assert re.search(r"stlm generate my-run-1 '[^']*\[[^']+'", err), err


def test_closed_and_full_streams():
    """In processes of their own, which need no torch."""
    shell = f"{sys.executable} -m stlm"
    for redirected, status in ((">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0),
                               ("| head -c 1", 0), ("> /dev/full", 2)):
        found = subprocess.run(["bash", "-c", f"set -o pipefail; {shell} train --help {redirected}"], check=False,
                               capture_output=True)
        assert found.returncode == status and b"Traceback" not in found.stderr and b"Exception" not in found.stderr, redirected
    found = subprocess.run([sys.executable, "-m", "stlm", "nonsense\udcff\u00e9"], check=False, capture_output=True,
                           env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert found.returncode == 2 and b"there is no verb 'nonsense" in found.stderr
