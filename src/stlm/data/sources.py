"""Text from anywhere, as documents: files, folders, the Hugging Face hub, the built-in corpus."""

from __future__ import annotations

import abc
import functools
import hashlib
import importlib
import itertools
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stlm.config.suggest import did_you_mean
from stlm.data.cache import remember, remembered
from stlm.data.digest import Advance, digest_of, unseen
from stlm.data.readers import (
    DATA_KINDS,
    documents_of,
    is_packed,
    kind_of,
    readable_files,
    reason,
    text_of,
    unreadable,
)
from stlm.errors import UserError

FORMAT = 1  # increased whenever the same text gives other documents than before
TRAIN, VALIDATION = "train", "validation"
LEAST = 1000  # smallest number of bytes of text that a model can learn from
FEW = 50  # with fewer documents than this, part of the text is held out instead of whole documents
HELD_OUT = 100  # one document in so many is held out if there are many
TAIL, TAIL_AT_MOST = 0.1, 1_000_000  # share of the bytes that is held out of few documents, and the most bytes
HUB_VALIDATION = 1_000_000  # bytes that are read from a hub's validation split
WORLD_VALIDATION = 1 << 18  # bytes of the built-in corpus that are held out
WORLD_VALIDATION_START = 1 << 40  # number of the first held-out story; training text never gets that far

Documents = Callable[[], Iterator[bytes]]  # every call returns the same documents, from the first on


class Source(abc.ABC):
    """Documents in two splits, train and validation. No document is in both.

    name: for people, such as "folder wikipedia_en_2015". size_hint: the number of bytes that will be
    read or written, if it is known before.
    """

    name: str
    size_hint: int | None = None

    @abc.abstractmethod
    def fingerprint(self, advance: Advance = unseen) -> str:
        """A hash of everything that the documents depend on. It is the same in every process, and taken anew at every call.

        advance is told how many further bytes were looked at.
        """

    @abc.abstractmethod
    def documents(self, split: str) -> Iterator[bytes]:
        """The documents of ``train`` or ``validation``, always in the same order. None is empty.

        Raises UserError, at once or while reading, if the text is damaged or too small.
        """

    def entropy_bits(self, document: bytes) -> float | None:
        """The exact information of a document in bits, or None if the source doesn't know it."""
        return None


def open_source(
    spec: str, *, field: str = "text", seed: int = 0, megabytes: float = 16.0
) -> Source:
    """The source that ``spec`` names: a file, a folder, ``hf:NAME``, ``hf:NAME:CONFIG`` or ``world``.

    field: the field that holds the text in jsonl, parquet and on the hub. seed: seed of ``world``.
    megabytes: millions of bytes of training text that ``world`` writes or that are read from the hub,
    because a stream of the hub may have no end. Files are always read whole. Write ``./world`` for a
    folder named ``world``. Raises UserError if there is no such text.
    """
    if not 0 < megabytes < math.inf:
        raise UserError(f"{spec}: megabytes is {megabytes}; it has to be a number above 0")
    if spec == "world":
        return World(seed, megabytes)
    if spec.startswith("hf:"):
        return Hub(spec, field, megabytes)
    return Files(spec, field)


class World(Source):
    """The built-in corpus: stories 0, 1, 2, ... of one seed, until there are enough bytes.

    Validation stories come from another range of numbers.
    """

    def __init__(self, seed: int, megabytes: float) -> None:
        self.name = f"world (seed {seed})"
        self.size_hint = self._budget = math.ceil(megabytes * 1e6)
        self._seed = seed

    def fingerprint(self, advance: Advance = unseen) -> str:
        from stlm.text.world import VERSION

        return _hash("world", VERSION, self._seed, self._budget)

    def documents(self, split: str) -> Iterator[bytes]:
        from stlm.text.world import write_story

        first, budget = {TRAIN: (0, self._budget),
                         VALIDATION: (WORLD_VALIDATION_START, WORLD_VALIDATION)}[split]
        stories = (write_story(self._seed, index) for index in itertools.count(first))
        return until(budget, (story.text.encode() for story in stories))

    def entropy_bits(self, document: bytes) -> float:
        from stlm.text.world import parse_story

        return parse_story(document.decode())


class Files(Source):
    """A file of any kind, or the readable files of a folder and its subfolders, sorted by path.

    In a folder, hidden files, binary files and links to folders are skipped. Names decide the split
    (see ``split_of``): ``train*`` and ``validation*`` are read as such. If nothing is named ``train*``,
    files without such a name are the training text. ``test*`` is never read. If nothing is named
    ``validation*``, and for a single file, some text is held out (``HeldOut``).
    """

    def __init__(self, spec: str, field: str) -> None:
        path = Path(os.path.expanduser(spec))  # Path's own raises where there is no such user
        is_folder = _is_folder(spec, path)
        self.name = f"{'folder' if is_folder else 'file'} {os.path.basename(os.path.abspath(path))}"
        self._field, self._skip_binary = field, is_folder
        try:
            self._files = _by_split(path) if is_folder else {TRAIN: [path]}
            sizes = [file.stat().st_size for files in self._files.values() for file in files]
        except OSError as error:
            raise unreadable(error.filename or path, error) from None
        if not any(is_packed(file) for files in self._files.values() for file in files):
            self.size_hint = sum(sizes)
        self._folder = path if is_folder else path.parent
        train, validation = (functools.partial(self._read, split) for split in (TRAIN, VALIDATION))
        self._splits = (Given(spec, train, validation) if VALIDATION in self._files
                        else HeldOut(spec, train))

    def fingerprint(self, advance: Advance = unseen) -> str:
        try:
            return _hash("files", self._field, self._skip_binary, [
                (split, file.relative_to(self._folder).as_posix(), digest_of(file, advance))
                for split, files in self._files.items() for file in files])
        except OSError as error:
            raise unreadable(error.filename or self.name, error) from None

    def documents(self, split: str) -> Iterator[bytes]:
        return self._splits.documents(split)

    def _read(self, split: str) -> Iterator[bytes]:
        for file in self._files[split]:
            yield from documents_of(file, self._field, skip_binary=self._skip_binary)


class Hub(Source):
    """A data set of the Hugging Face hub, as a stream: ``hf:NAME`` or ``hf:NAME:CONFIG``.

    Whole documents are read from the training split until there are ``megabytes``, and from the
    validation split until there is 1 MB. If there is no validation split, some of the training text is
    held out (``HeldOut``). A test split is never read. All of it is read from one revision of the data
    set, which the fingerprint names.
    """

    def __init__(self, spec: str, field: str, megabytes: float) -> None:
        match = re.fullmatch(r"hf:([\w.-]+(?:/[\w.-]+)?)(?::([^\s:]+))?", spec)
        if match is None:
            raise UserError(f"{spec}: this isn't a name on the hub; write hf:NAME or hf:NAME:CONFIG, "
                            "as in hf:roneneldan/TinyStories")
        self.name, self._field = spec, field
        self._path, self._config = match.groups()
        self.size_hint = self._budget = math.ceil(megabytes * 1e6)

    def fingerprint(self, advance: Advance = unseen) -> str:
        return _hash("hub", self.name, self._revision, self._field, self._budget)

    def documents(self, split: str) -> Iterator[bytes]:
        return self._splits.documents(split)

    @functools.cached_property
    def _splits(self) -> Given | HeldOut:
        names = self._request(lambda: self._package("datasets").get_dataset_split_names(
            self._path, self._config, revision=self._revision))
        if TRAIN not in names:
            raise UserError(f"{self.name}: it has no split named train; its splits are "
                            f"{', '.join(names) or 'none'}; choose another data set or config")

        def taken(name: str, budget: int) -> Documents:
            return lambda: until(budget, self._stream(name))

        train = taken(TRAIN, self._budget)
        for name in (VALIDATION, "valid"):
            if name in names:
                return Given(self.name, train, taken(name, HUB_VALIDATION))
        return HeldOut(self.name, train)

    def _stream(self, split: str) -> Iterator[bytes]:
        rows = self._request(lambda: iter(self._package("datasets").load_dataset(
            self._path, self._config, split=split, streaming=True, revision=self._revision)))
        for number in itertools.count(1):
            row = self._request(lambda: next(rows, None))
            if row is None:
                return
            if row.get(self._field, "") is None:  # a null in a table is no document
                continue
            if document := text_of(row, self._field, f"{self.name}, {split} row {number}"):
                yield document

    @functools.cached_property
    def _revision(self) -> str:
        """The newest revision of the data set or, where the hub can't be reached, the newest that was known before."""
        name = _hash("revision", self._path)
        try:
            found = self._request(lambda: self._package("huggingface_hub").dataset_info(self._path, timeout=10).sha)
        except UserError:
            known = remembered(name)
            if known is None:
                raise
            return known
        remember(name, found)
        return found

    def _package(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ImportError:
            raise UserError(f"{self.name}: reading from the hub needs a package: "
                            "pip install 'stlm[data]'") from None

    def _request(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except UserError:
            raise
        except Exception as error:  # many types are possible; each means that the text can't be read
            raise UserError(f"{self.name}: cannot be read from the hub ({reason(error)}); "
                            "check its name and the network") from None


class Given:
    """Two splits that already exist as such."""

    def __init__(self, where: str, train: Documents, validation: Documents) -> None:
        self._where, self._read = where, {TRAIN: train, VALIDATION: validation}

    def documents(self, split: str) -> Iterator[bytes]:
        return self._checked[split]()

    @functools.cached_property
    def _checked(self) -> dict[str, Documents]:
        """Both splits, after checking that both have text. Only as much is read as the check needs."""
        sizes = {split: _size(read(), at_most=LEAST) for split, read in self._read.items()}
        for split, size in sizes.items():
            if not size:
                raise UserError(f"{self._where}: there is no text in its {split} split; both train "
                                "and validation need some")
        _check_size(self._where, sum(sizes.values()))
        return self._read


class HeldOut:
    """Two splits of text that has no splits of its own.

    Of many documents, about one in a hundred is validation text; a hash of the document decides, so
    equal documents are in the same split. With fewer than 50 documents, or if one split would be
    empty, the last tenth of the bytes is validation text, 1 MB at most. That part begins at the
    beginning of a UTF-8 character.
    """

    def __init__(self, where: str, documents: Documents) -> None:
        self._where, self._read = where, documents

    def documents(self, split: str) -> Iterator[bytes]:
        wanted = {TRAIN: False, VALIDATION: True}[split]
        cut = self._cut
        if cut is None:
            return (text for text in self._read() if _is_held_out(text) == wanted)
        return self._parts(cut, wanted)

    @functools.cached_property
    def _cut(self) -> int | None:
        """The byte at which validation begins, or None if hashes decide.

        Reading stops as soon as it is clear that hashes decide.
        """
        total, sides = 0, set()
        for count, document in enumerate(self._read(), start=1):
            total += len(document)
            sides.add(_is_held_out(document))
            if count >= FEW and total >= LEAST and len(sides) == 2:
                return None
        _check_size(self._where, total)
        return total - min(int(TAIL * total), TAIL_AT_MOST)

    def _parts(self, cut: int, held_out: bool) -> Iterator[bytes]:
        """The text before byte ``cut`` of all documents end to end, or the text from that byte on."""
        for document in self._read():
            index = min(max(cut, 0), len(document))
            if 0 < index < len(document):
                index = _character_start(document, index)
            if part := document[index:] if held_out else document[:index]:
                yield part
            cut -= len(document)


def _is_held_out(document: bytes) -> bool:
    digest = hashlib.blake2b(document, digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT == 0


def _character_start(data: bytes, index: int) -> int:
    """The first index, from ``index`` on, at which a UTF-8 character begins; ``index`` if there is none."""
    for here in range(index, min(index + 4, len(data))):
        if data[here] & 0xC0 != 0x80:
            return here
    return index


def until(budget: int, documents: Iterator[bytes]) -> Iterator[bytes]:
    """Whole documents, until they have at least ``budget`` bytes together."""
    for document in documents:
        yield document
        budget -= len(document)
        if budget <= 0:
            return


def _size(documents: Iterator[bytes], at_most: int) -> int:
    """The number of bytes of some documents. Counting stops after ``at_most``."""
    return sum(map(len, until(at_most, documents)))


def _check_size(where: str, n_bytes: int) -> None:
    if n_bytes < LEAST:
        raise UserError(f"{where}: {n_bytes} bytes of text are too little to learn from; "
                        "stlm needs at least 1 kB (empty and binary files in folders don't count)")


def _is_folder(spec: str, path: Path) -> bool:
    """Whether ``path`` is a folder. UserError if it is neither a folder nor a file."""
    try:
        mode = path.stat().st_mode if spec else 0
    except (FileNotFoundError, NotADirectoryError):
        siblings = ["world", *_names(path.parent)]
        raise UserError(f"{spec}: there is no such file or folder"
                        f"{did_you_mean(path.name, siblings)}; give a file, a folder, hf:NAME, "
                        "or world for the built-in corpus") from None
    except OSError as error:
        raise unreadable(spec, error) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UserError(f"{spec or repr(spec)}: this is neither a file nor a folder; give one of "
                        "them (text is read more than once, so save what comes from a pipe to a file)")
    return stat.S_ISDIR(mode)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _by_split(folder: Path) -> dict[str, list[Path]]:
    """The files of each split. There is no entry for validation if no name says validation."""
    files = readable_files(folder)
    if not files:
        raise UserError(f"{folder}: there is no text in this folder; stlm reads text, source code, .jsonl and .parquet, "
                        "also compressed as .gz or .zst, and skips names that begin with a dot; for another kind of file, "
                        "give its own name instead of the folder's")
    named: dict[str | None, list[Path]] = {}
    for file in files:
        named.setdefault(split_of(file.relative_to(folder)), []).append(file)
    train = named.get(TRAIN) or named.get(None)
    if not train:
        others = " or ".join(f"{name}*" for name in sorted(map(str, named)))
        raise UserError(f"{folder}: all of its files are named {others}, so there are none to train "
                        "on; name some train*, or give a single file")
    return {TRAIN: train} | ({VALIDATION: named[VALIDATION]} if VALIDATION in named else {})


def split_of(path: Path) -> str | None:
    """``train``, ``validation`` or ``test`` if a file, or a folder that contains it, has such a name; None otherwise.

    The outermost name counts, but ``test`` counts anywhere. Names of source code don't count: ``train/loop.py`` gives None.
    """
    if kind_of(path) not in DATA_KINDS:
        return None
    words = [re.match(r"(train|validation|valid|val|dev|test)(?=$|[._\-0-9])", part.lower())
             for part in path.parts]
    found = [word[1] if word[1] in (TRAIN, "test") else VALIDATION for word in words if word]
    return "test" if "test" in found else next(iter(found), None)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr((FORMAT, *parts)).encode()).hexdigest()
