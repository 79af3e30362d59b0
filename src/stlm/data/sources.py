"""Text from anywhere, as documents: files, folders, the Hugging Face hub, the built-in corpus."""

from __future__ import annotations

import abc
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from stlm.config.slot import did_you_mean
from stlm.data.readers import LINES, PLAIN, READABLE, TABLES, documents_of, kind_of, looks_binary
from stlm.errors import UserError

TRAIN, VALIDATION = "train", "validation"
LEAST = 1000  # bytes of text below which there is nothing to learn
FEW = 50  # documents below which holding some out whole would be too coarse
HELD_OUT = 100  # one document in so many is held out where there are many
TAIL, TAIL_AT_MOST = 0.1, 1_000_000  # share of the bytes, and their most, held out where documents are few
WORLD_VALIDATION = 1 << 18  # bytes of the built-in corpus that are held out
_SKIPPED = ("__pycache__", "node_modules")


class Source(abc.ABC):
    """Documents in two splits that share none. name: for people. size_hint: bytes to be read or written, if known."""

    name: str
    size_hint: int | None = None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A hash of whatever determines the documents."""

    @abc.abstractmethod
    def documents(self, split: str) -> Iterator[bytes]:
        """The documents of ``train`` or ``validation``, none of them empty, always the same in the same order."""

    def entropy_bits(self, document: bytes) -> float | None:
        """The information of a document in bits under the source's own distribution, where that is known."""
        return None


def open_source(spec: str, *, field: str = "text", seed: int = 0, megabytes: float = 16.0) -> Source:
    """The source that a word on the command line means: ``world``, ``hf:NAME``, a file or a folder.

    field: which field of jsonl and parquet holds the text. megabytes: how much of ``world`` is written, and how much of
    a hub's stream, which may have no end, is taken. Raises UserError where there is no such text.
    """
    if spec == "world":
        return World(seed, megabytes)
    if spec.startswith("hf:"):
        return Hub(spec, field, megabytes)
    path = Path(spec).expanduser()
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{spec}: there is no such file or folder{did_you_mean(path.name, siblings)}; "
                        "give a file, a folder, hf:NAME, or world for the built-in corpus")
    return Files(path, field)


class World(Source):
    """The built-in corpus: stories of one seed; those held out come from another range of the same numbers."""

    def __init__(self, seed: int, megabytes: float) -> None:
        self.name = f"the built-in corpus (seed {seed})"
        self._seed, self._budget = seed, int(megabytes * 1e6)
        self.size_hint = self._budget + WORLD_VALIDATION

    def fingerprint(self) -> str:
        from stlm.text.world import VERSION
        return _hash("world", VERSION, self._seed, self._budget)

    def documents(self, split: str) -> Iterator[bytes]:
        from stlm.text.world import write_story
        first, budget = (0, self._budget) if split == TRAIN else (1 << 40, WORLD_VALIDATION)
        for index in itertools.count(first):
            if budget <= 0:
                return
            document = write_story(self._seed, index).text.encode()
            yield document
            budget -= len(document)

    def entropy_bits(self, document: bytes) -> float:
        from stlm.text.world import parse_story
        return parse_story(document.decode())


class Files(Source):
    """A file, or all readable files of a folder and its folders.

    Where names say so (``train*``, ``validation*``, ``valid*``, ``val*``, ``dev*``, of files or folders) they decide, and
    what is named ``test*`` is never read. Otherwise some documents are held out by a hash of their bytes; where documents are
    few, the end of the text is.
    """

    def __init__(self, path: Path, field: str) -> None:
        self.name = f"{'folder' if path.is_dir() else 'file'} {path.resolve().name}"
        self._root, self._field = path, field
        self._files = _walk(path) if path.is_dir() else [path]
        if not self._files:
            raise UserError(f"{path}: no readable file is in this folder; read are {' '.join(PLAIN[:4])} and other text and "
                            f"source code, {' '.join((*LINES, *TABLES))}, each also as .gz or .zst")
        named = {file: _split_of(file.relative_to(path.parent if path.is_file() else path)) for file in self._files}
        if path.is_dir() and TRAIN in named.values():
            self._named = {split: [f for f in self._files if named[f] == split] for split in (TRAIN, VALIDATION)}
        else:
            self._named = {TRAIN: [f for f in self._files if path.is_file() or named[f] != "test"], VALIDATION: []}
        if not self._named[TRAIN]:
            raise UserError(f"{path}: only files named test* are here, and those are never trained on")
        self.size_hint = None
        self._held_out = HoldOut(lambda: self._read(TRAIN)) if not self._named[VALIDATION] else None
        self._check_size()

    def fingerprint(self) -> str:
        stats = [(str(file.relative_to(self._root)) if file != self._root else file.name, file.stat().st_size,
                  file.stat().st_mtime_ns) for file in self._files]
        return _hash("files", self._field, stats)

    def documents(self, split: str) -> Iterator[bytes]:
        return self._held_out.documents(split) if self._held_out else self._read(split)

    def _read(self, split: str) -> Iterator[bytes]:
        for file in self._named[split]:
            yield from documents_of(file, self._field)

    def _check_size(self) -> None:
        seen = 0
        for document in self._read(TRAIN):
            seen += len(document)
            if seen >= LEAST:
                return
        raise UserError(f"{self._root}: {seen} bytes of text are too little to learn from; give at least {LEAST}")


class Hub(Source):
    """A data set of the Hugging Face hub, as a stream: ``hf:NAME`` or ``hf:NAME:CONFIG``.

    Its own validation split is held out where it has one; else one document in a hundred of the training split is.
    """

    def __init__(self, spec: str, field: str, megabytes: float) -> None:
        match = re.fullmatch(r"hf:([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?", spec)
        if match is None:
            raise UserError(f"{spec}: write hf:NAME or hf:NAME:CONFIG, as in hf:roneneldan/TinyStories")
        self.name, self._spec, self._field = spec, spec, field
        self._path, self._config = match[1], match[2]
        self.size_hint = self._budget = int(megabytes * 1e6)

    def fingerprint(self) -> str:
        return _hash("hub", self._spec, self._field, self._budget)

    def documents(self, split: str) -> Iterator[bytes]:
        splits = self._splits()
        own = next((name for name in ("validation", "valid", "dev") if name in splits), None)
        if own is not None:
            budget = self._budget if split == TRAIN else min(self._budget, TAIL_AT_MOST)
            return _until(budget, self._stream("train" if split == TRAIN else own))
        taken = _until(self._budget, self._stream("train"))
        return (document for document in taken if _is_held_out(document) == (split == VALIDATION))

    def _splits(self) -> list[str]:
        return list(self._call("get_dataset_split_names", self._path, self._config))

    def _stream(self, split: str) -> Iterator[bytes]:
        rows = self._call("load_dataset", self._path, self._config, split=split, streaming=True)
        for number, row in enumerate(rows):
            if self._field not in row:
                raise UserError(f"{self._spec}: row {number} has no field {self._field!r}; the fields are "
                                f"{', '.join(map(repr, row))}; choose one with --data.field")
            if not isinstance(row[self._field], str):
                raise UserError(f"{self._spec}: the field {self._field!r} isn't a text; choose one with --data.field")
            if document := row[self._field].encode("utf-8", errors="replace"):
                yield document

    def _call(self, function: str, *arguments: object, **keywords: object) -> Iterable:
        try:
            import datasets
        except ImportError:
            raise UserError(f"{self._spec}: reading the hub needs a package: pip install 'stlm[data]'") from None
        try:
            return getattr(datasets, function)(*arguments, **keywords)
        except Exception as error:  # the hub's client raises dozens of kinds; each means that the text can't be had
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self._spec}: cannot be had from the hub ({reason}); check the name and the network") from None


class HoldOut:
    """Two splits of documents that come as one: by hash where there are many, else the end of the text."""

    def __init__(self, documents) -> None:  # type: ignore[no-untyped-def]
        self._documents = documents
        self._cut: int | None = None
        sizes = [len(document) for document in itertools.islice(documents(), FEW)]
        if len(sizes) < FEW:
            self._cut = sum(sizes) - max(1, min(int(TAIL * sum(sizes)), TAIL_AT_MOST))
        elif not any(map(_is_held_out, documents())):
            total = sum(len(document) for document in documents())
            self._cut = total - max(1, min(int(TAIL * total), TAIL_AT_MOST))

    def documents(self, split: str) -> Iterator[bytes]:
        if self._cut is None:
            return (d for d in self._documents() if _is_held_out(d) == (split == VALIDATION))
        return self._by_place(split, self._cut)

    def _by_place(self, split: str, cut: int) -> Iterator[bytes]:
        start = 0
        for document in self._documents():
            here = _character_start(document, min(max(cut - start, 0), len(document)))
            piece = document[:here] if split == TRAIN else document[here:]
            if piece:
                yield piece
            start += len(document)


def _character_start(data: bytes, place: int) -> int:
    """The nearest place at or after ``place`` where no UTF-8 character is cut; ``place`` where there's none near."""
    for ahead in range(4):
        if place + ahead < len(data) and not 0x80 <= data[place + ahead] <= 0xBF:
            return place + ahead
    return place


def _is_held_out(document: bytes) -> bool:
    digest = hashlib.blake2b(document, digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT == 0


def _until(budget: int, documents: Iterator[bytes]) -> Iterator[bytes]:
    for document in documents:
        yield document
        budget -= len(document)
        if budget <= 0:
            return


def _walk(folder: Path) -> list[Path]:
    """Readable files of a folder, sorted by path; hidden ones, and those that hold no text, are passed over."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    readable = [path for path in sorted(found) if kind_of(path) in READABLE and path.stat().st_size > 0]
    return [path for path in readable if kind_of(path) not in PLAIN or not looks_binary(path)]


def _split_of(path: Path) -> str | None:
    """``train``, ``validation`` or ``test`` where the file or one of its folders is named so."""
    for part in (*path.parts[:-1], path.name.partition(".")[0]):
        match = re.match(r"(train|validation|valid|val|dev|test)(?=$|[._\-\d])", part.lower())
        if match:
            return {"train": TRAIN, "test": "test"}.get(match[1], VALIDATION)
    return None


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
