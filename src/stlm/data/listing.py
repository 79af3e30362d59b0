"""Which files of a folder or an archive are text, what is passed over, and which split a file belongs to."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import PurePosixPath

from stlm.data.encoding import is_binary
from stlm.data.packing import Opener, TextFile, damage_named, faults_named
from stlm.data.readers import LINES, TABLES
from stlm.errors import UserError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# suffixes that count as text when a whole folder is read; a file that is named itself may have any other
PLAIN = tuple(
    ".txt .text .md .markdown .rst .adoc .org .tex .bib .html .htm .xml .css .scss .csv .tsv "
    ".json .yaml .yml .toml .ini .cfg .log .srt .vtt .py .pyi .ipynb .c .h .cc .cpp .hpp .cs "
    ".java .kt .scala .go .rs .swift .js .jsx .ts .tsx .vue .rb .php .pl .lua .r .jl .m .sh .bash "
    ".ps1 .sql .hs .ml .ex .exs .erl .clj .lisp .scm .el .vim .tcl .f90 .adb .v .vhd .zig .nim "
    ".d .dart .proto .cmake .mk".split())
RECORDS = (*LINES, *TABLES)
READABLE = frozenset((*PLAIN, *RECORDS))
# formats of data sets: names of these files and of their folders may say which split they hold
DATA_KINDS = (".txt", ".text", ".md", ".csv", ".tsv", ".json", *RECORDS)
# suffixes of what another program has to unpack, or to save as text, first
SEALED = frozenset(
    ".7z .rar .tar .tgz .tbz .tbz2 .txz .tzst .cab .iso .dmg .jar .z .lz .lz4 .br .zip .pdf .doc .docx .odt .epub .mobi "
    ".ppt .pptx .odp .xls .xlsx .ods .pages .djvu .ps".split())
_TOOLS = ("__pycache__", "node_modules", "__MACOSX")
# what the program's own folders hold: a run, a checkpoint or model, a comparison, scores
_OWN = ({"config.json", "checkpoints"}, {"config.json", "trainer.json"}, {"results.json", "report.html"},
        {"results.json", "scores.html"})
_SPLIT = "(train|validation|valid|val|dev|test)"
_WORD = re.compile(rf"{_SPLIT}(?:[-_.]?v?\d[\d.]*(?:-of-\d+)?)?")
_BEGUN = re.compile(rf"{_SPLIT}(?=$|[._\-0-9])")
_HEAD = 8192  # a file with a zero byte in its first so many bytes is binary
_UNPACKED = (0, 8, 12, 14)  # methods of compression inside archives that Python can undo
_NAMES = 3  # names that are kept of the files passed over for one reason
_HIDDEN, _OTHER, _UNREADABLE = "hidden", "of another kind", "unreadable"


class PassedOver:
    """How many files and folders are passed over for each reason, and some of their names."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[str]]] = {}

    def add(self, why: str, name: str) -> None:
        count, names = self._found.get(why, (0, []))
        self._found[why] = count + 1, names if len(names) == _NAMES else [*names, name]

    def __str__(self) -> str:
        """For example ``3 passed over: 2 binary (a.txt, b.csv), 1 hidden (.git)``; "" if there are none."""
        each = [f"{count:,} {why} ({', '.join(map(_shown, names))}{', ...' if count > len(names) else ''})"
                for why, (count, names) in self._found.items()]
        return f"{sum(count for count, _ in self._found.values()):,} passed over: {', '.join(each)}" if each else ""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files that hold text, sorted by path, and what is passed over."""

    files: list[TextFile]
    passed: PassedOver


def list_folder(folder: str) -> Listing:
    """A folder, its subfolders, and the zip archives in them.

    Passed over are hidden files and folders, links to folders, runs, models and records of this program, files whose names
    don't say that they are text, binary files, and what can't be read. OSError if the folder itself can't be read.
    """
    passed, files = PassedOver(), list[TextFile]()
    with Opener() as opener:
        for name in sorted(_walk(folder, passed)):
            file = TextFile(os.path.join(folder, name), name)
            try:
                with damage_named(file):
                    files += _texts(file, opener, passed)
            except OSError:
                passed.add(_UNREADABLE, name)
    return Listing(files, passed)


def list_file(path: str) -> Listing:
    """A single file of any kind, or the text in a zip archive. UserError if there is no text in it."""
    passed, file = PassedOver(), TextFile(path, os.path.basename(path))
    if not file.is_archive and file.kind in SEALED:
        raise UserError(f"{path}: stlm doesn't read {file.kind} files; unpack it, or save its text as a .txt file")
    with Opener() as opener, faults_named(file):
        files = _texts(file, opener, passed)
    if not files and file.is_archive:
        raise UserError(f"{path}: there is no text in this archive ({str(passed) or 'it is empty'}); unpack it, and give the "
                        "text's own file")
    if not files:
        raise UserError(f"{path}: this is a binary file, no text; unpack it, or save its text as UTF-8")
    return Listing(files, passed)


def split_of(file: TextFile) -> str | None:
    """``train``, ``validation`` or ``test`` if a file, or a folder that contains it, has such a name; None otherwise.

    The name has to be that word alone, or with a number: ``train.txt``, ``train-00001.csv``. Names of jsonl and parquet files
    may go on (``train_en.jsonl``). The outermost name counts, but ``test`` counts anywhere. Names of source code don't count:
    ``train/loop.py`` gives None.
    """
    if file.kind not in DATA_KINDS:
        return None
    folders = PurePosixPath(file.name.lower()).parts[:-1]
    last = (_BEGUN.match if file.kind in RECORDS else _WORD.fullmatch)(file.stem.lower())
    found = [word[1] if word[1] in (TRAIN, TEST) else VALIDATION for word in [*map(_WORD.fullmatch, folders), last] if word]
    return TEST if TEST in found else next(iter(found), None)


def _walk(folder: str, passed: PassedOver) -> Iterator[str]:
    """Paths of the files in a folder and its subfolders whose names say that they are text."""
    waiting = deque([""])
    while waiting:
        parent = waiting.popleft()
        try:
            found = os.scandir(os.path.join(folder, parent) if parent else folder)
            entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            if not parent:
                raise
            passed.add(_UNREADABLE, parent)
            continue
        names = {entry.name for entry in entries}
        if parent and any(own <= names for own in _OWN):
            passed.add("of stlm's own", parent)
            continue
        for entry in entries:
            name = os.path.join(parent, entry.name)
            if why := _reason_to_skip(entry):
                passed.add(why, name)
            elif entry.is_dir():
                waiting.append(name)
            else:
                yield name


def _reason_to_skip(entry: os.DirEntry[str]) -> str | None:
    """Why a file or folder is passed over, as far as can be seen from outside."""
    if entry.name.startswith("."):
        return _HIDDEN
    if entry.name in _TOOLS:
        return "made by tools"
    try:
        if entry.is_dir():
            return "linked" if entry.is_symlink() else None
        if not entry.is_file():
            return "neither file nor folder"
    except OSError:
        return _UNREADABLE
    file = TextFile("", entry.name)
    return None if file.is_archive or file.kind in READABLE else _OTHER


def _texts(file: TextFile, opener: Opener, passed: PassedOver) -> list[TextFile]:
    """The file, or the members of an archive, without what is binary. Formats of records say themselves what is wrong in them.
    """
    found = []
    for each in _members(file, opener, passed) if file.is_archive else [file]:
        with opener.opened(each) as stream:
            if each.kind in RECORDS or not is_binary(stream.read(_HEAD)):
                found.append(each)
            else:
                passed.add("binary", each.name)
    return found


def _members(archive: TextFile, opener: Opener, passed: PassedOver) -> list[TextFile]:
    """The members of a zip archive that may be text. The name of a single member may have any suffix."""
    seen = {}
    for info in opener.archive(archive.path).infolist():
        parts = PurePosixPath(info.filename).parts
        if any(part in _TOOLS or part.startswith(".") for part in parts):
            passed.add(_HIDDEN, f"{archive.name}/{info.filename}")
        elif not info.is_dir():
            seen[info.filename] = info
    members = []
    for name, info in sorted(seen.items()):
        file = TextFile(archive.path, f"{archive.name}/{name}", name)
        if info.flag_bits & 1 or info.compress_type not in _UNPACKED:
            passed.add("locked", file.name)
        elif file.kind in SEALED or (file.kind not in READABLE and len(seen) > 1):
            passed.add(_OTHER, file.name)
        else:
            members.append(file)
    return members


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
