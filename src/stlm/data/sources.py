"""Text from anywhere, as documents: files, folders, the Hugging Face hub, the built-in corpus."""

from __future__ import annotations

import abc
import copy
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
from stlm.data.listing import TEST, TRAIN, VALIDATION, list_file, list_folder, split_of
from stlm.data.packing import PACKED, ZIP, Opener, TextFile, reason, unreadable
from stlm.data.readers import TABLES, documents_of, text_of
from stlm.data.splits import LEAST, Documents, Given, HeldOut, until
from stlm.errors import UserError

FORMAT = 2  # increased whenever the same text gives other documents than before
HUB_VALIDATION = 1_000_000  # bytes that are read from a hub's validation split
WORLD_VALIDATION = 1 << 18  # bytes of the built-in corpus that are held out
WORLD_VALIDATION_START = 1 << 40  # number of the first held-out story; training text never gets that far


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

    def to_score(self) -> Iterator[bytes]:
        """The documents that are scored where a model is evaluated on this text."""
        return self.documents(VALIDATION)

    def about(self, *, scoring: bool = False) -> str:
        """What is read and what is passed over, in a few words; "" if there is nothing to say. scoring: of `to_score`."""
        return ""

    @property
    def holds_more(self) -> bool:
        """Whether more than the usual share is held out, because the text is short."""
        return False

    def entropy_bits(self, document: bytes) -> float | None:
        """The exact information of a document in bits, or None if the source doesn't know it."""
        return None


def open_source(
    spec: str, *, field: str = "text", seed: int = 0, megabytes: float = 16.0, held_out: int = LEAST
) -> Source:
    """The source that ``spec`` names: a file, a folder, ``hf:NAME``, ``hf:NAME:CONFIG`` or ``world``.

    field: the field that holds the text in jsonl, parquet and on the hub. seed: seed of ``world``.
    megabytes: millions of bytes of training text that ``world`` writes or that are read from the hub,
    because a stream of the hub may have no end. Files are always read whole. held_out: so many bytes
    are held out of a text without splits, if the text is long enough for that. Write ``./world`` for a
    folder named ``world``. Raises UserError if there is no such text.
    """
    if not 0 < megabytes < math.inf:
        raise UserError(f"{spec}: megabytes is {megabytes}; it has to be a number above 0")
    if spec == "world":
        return World(seed, megabytes)
    if spec.startswith("hf:"):
        return Hub(spec, field, megabytes, held_out)
    return Files(spec, field, held_out)


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
    """A file of any kind, a zip archive, or the files with text in a folder and its subfolders, sorted by path.

    Names in folders and archives decide the split (see ``split_of``): ``train`` and ``validation`` are
    read as such. If nothing is named ``train``, files without such a name are the training text. ``test``
    is never trained on. If nothing is named ``validation``, and for a single file, some text is held out
    (``HeldOut``).
    """

    def __init__(self, spec: str, field: str, held_out: int) -> None:
        path = Path(os.path.expanduser(spec))  # Path's own raises where there is no such user
        is_folder = _is_folder(spec, path)
        self.name = f"{'folder' if is_folder else 'file'} {os.path.basename(os.path.abspath(path))}"
        self._spec, self._field, self._least = spec, field, held_out
        try:
            self._listing = list_folder(str(path)) if is_folder else list_file(str(path))
            self._named = _by_split(self._listing.files, alone=not is_folder)
            self._files = {TRAIN: self._named.get(TRAIN) or self._named.get(None, [])}
            if VALIDATION in self._named:
                self._files[VALIDATION] = self._named[VALIDATION]
            size = sum(os.stat(file.path).st_size for files in self._files.values() for file in files)
        except OSError as error:
            raise unreadable(error.filename or path, error) from None
        if not any(file.packed or file.kind in TABLES for files in self._files.values() for file in files):
            self.size_hint = size

    def fingerprint(self, advance: Advance = unseen) -> str:
        read = functools.cache(lambda path: digest_of(path, advance))  # an archive is the path of all its members
        try:
            found = [(split, file.name, read(file.path)) for split, files in self._files.items() for file in files]
        except OSError as error:
            raise unreadable(error.filename or self.name, error) from None
        return _hash("files", self._field, found, self._splits.rule)

    def documents(self, split: str) -> Iterator[bytes]:
        return self._splits.documents(split)

    def to_score(self) -> Iterator[bytes]:
        """The documents of files named validation or test; of all files if there are none."""
        self._check_any()
        files = (file for split in self._scored for file in self._named[split])
        return self._read(sorted(files, key=lambda file: file.name))

    def about(self, *, scoring: bool = False) -> str:
        read = self._scored if scoring else {TRAIN if TRAIN in self._named else None, VALIDATION} & self._named.keys()
        passed = copy.deepcopy(self._listing.passed)
        for split in sorted(self._named.keys() - read, key=str):
            for file in self._named[split]:
                passed.add(f"named {split}" if split else "named for no split", file.name)
        n_files = sum(len(self._named[split]) for split in read)
        return "; ".join(filter(None, [f"{n_files:,} file{'s' if n_files > 1 else ''}", str(passed)]))

    @property
    def holds_more(self) -> bool:
        return bool(self._splits.rule)

    @property
    def _scored(self) -> set[str | None]:
        return self._named.keys() & {VALIDATION, TEST} or set(self._named)

    @functools.cached_property
    def _splits(self) -> Given | HeldOut:
        self._check_any()
        if not self._files[TRAIN]:
            others = " or ".join(sorted(map(str, self._named)))
            raise UserError(f"{self._spec}: all of its files are named {others}, so there are none to train "
                            "on; name some train, or give a single file")
        train, *validation = (functools.partial(self._read, files) for files in self._files.values())
        return Given(self._spec, train, *validation) if validation else HeldOut(self._spec, train, self._least)

    def _check_any(self) -> None:
        if not self._listing.files:
            raise UserError(f"{self._spec}: there is no text in this folder"
                            f"{f' ({passed})' if (passed := str(self._listing.passed)) else ''}; stlm reads text, source code, "
                            f".jsonl and .parquet, also in {', '.join([*PACKED, ZIP])}; for another kind of file, give its own "
                            "name instead of the folder's")

    def _read(self, files: list[TextFile]) -> Iterator[bytes]:
        with Opener() as opener:
            for file in files:
                yield from documents_of(file, self._field, opener)


class Hub(Source):
    """A data set of the Hugging Face hub, as a stream: ``hf:NAME`` or ``hf:NAME:CONFIG``.

    Whole documents are read from the training split until there are ``megabytes``, and from the
    validation split until there is 1 MB. If there is no validation split, some of the training text is
    held out (``HeldOut``). A test split is never read. All of it is read from one revision of the data
    set, which the fingerprint names.
    """

    def __init__(self, spec: str, field: str, megabytes: float, held_out: int) -> None:
        match = re.fullmatch(r"hf:([\w.-]+(?:/[\w.-]+)?)(?::([^\s:]+))?", spec)
        if match is None:
            raise UserError(f"{spec}: this isn't a name on the hub; write hf:NAME or hf:NAME:CONFIG, "
                            "as in hf:roneneldan/TinyStories")
        self.name, self._field, self._least = spec, field, held_out
        self._path, self._config = match.groups()
        self.size_hint = self._budget = math.ceil(megabytes * 1e6)

    def fingerprint(self, advance: Advance = unseen) -> str:
        return _hash("hub", self.name, self._revision, self._field, self._budget, self._least)

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
        return HeldOut(self.name, train, self._least)

    def _stream(self, split: str) -> Iterator[bytes]:
        rows = self._request(lambda: iter(self._package("datasets").load_dataset(
            self._path, self._config, split=split, streaming=True, revision=self._revision)))
        for number in itertools.count(1):
            row = self._request(lambda: next(rows, None))
            if row is None:
                return
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


def _by_split(files: list[TextFile], *, alone: bool) -> dict[str | None, list[TextFile]]:
    """The files of each split. alone: the name of a single file says nothing, because the user chose it."""
    named: dict[str | None, list[TextFile]] = {}
    for file in files:
        named.setdefault(None if alone and len(files) == 1 else split_of(file), []).append(file)
    return named


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr((FORMAT, *parts)).encode()).hexdigest()
