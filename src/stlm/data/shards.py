"""Text on disk as tokens, ready to be memory-mapped.

A corpus is a folder. Its name is the hash of everything that its content depends on. ``train.bin`` and ``validation.bin`` hold
the tokens of all documents end to end, and ``train.starts.npy`` holds where each document starts. ``corpus.json`` is written
last and holds a hash of each file and of itself. So a corpus that isn't whole is known, and is written again. Files are written
elsewhere and renamed, never changed: whoever reads a corpus goes on reading what was there. Columns, arrays with an entry for
each token, may be added later (`add_column`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
import typing
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from stlm.config.decode import encode
from stlm.data.cache import cannot_write, writable
from stlm.data.digest import Advance, digest_of
from stlm.errors import UserError
from stlm.text.tokenizer import Tokenizer, TokenizerConfig

if typing.TYPE_CHECKING:
    from stlm.data.sources import Source

FORMAT = 4
SPLITS = ("train", "validation")
RECORD = "corpus.json"
COLUMN = ".column."  # between the split and the name of a column's file
SCRATCH = ".writing-"  # begins the names of what isn't complete yet
ABANDONED = 24 * 3600  # seconds; a writer that hasn't written for so long was killed
PIECE = 1 << 20  # tokens that are decoded at once

Progress = Callable[[str, int], object]  # is told what is done, and of how many further bytes


@dataclasses.dataclass(frozen=True)
class Shard:
    """One split.

    tokens: of all documents, end to end. starts: the index of each document's first token, and the end of the last document.
    n_bytes: bytes of text. columns: further arrays by name, with an entry for each token, such as weights, domains or a
    teacher's targets.
    """

    tokens: np.ndarray
    starts: np.ndarray
    n_bytes: int
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, documents: Iterable[bytes], tokenizer: Tokenizer) -> Shard:
        """Documents as a split in memory."""
        tokens, starts, n_bytes = bytearray(), array("q", [0]), 0
        for document in documents:
            encoded = _encoded(document, tokenizer)
            tokens += encoded.data
            starts.append(starts[-1] + len(encoded))
            n_bytes += len(document)
        return cls(np.frombuffer(tokens, dtype=tokenizer.dtype), np.array(starts), n_bytes)

    @property
    def n_documents(self) -> int:
        return len(self.starts) - 1

    def beginning(self, n_bytes: float, tokenizer: Tokenizer) -> Shard:
        """The first documents, as far as they have about so many bytes of text. The last one may be cut."""
        end = min(len(self.tokens), max(1, round(n_bytes * len(self.tokens) / max(1, self.n_bytes))))
        starts = np.append(self.starts[self.starts < end], end)
        sizes = np.array([len(token) for token in tokenizer.token_bytes])
        return Shard(self.tokens[:end], starts, int(sizes[self.tokens[:end]].sum()),
                     {name: column[:end] for name, column in self.columns.items()})

    def documents(self, tokenizer: Tokenizer, every: int = 1) -> Iterator[bytes]:
        """The text of each document, or of every ``every``-th one."""
        for number in range(0, self.n_documents, every):
            start, end = int(self.starts[number]), int(self.starts[number + 1])
            pieces = (self.tokens[here:min(here + PIECE, end)] for here in range(start, end, PIECE))
            yield b"".join(tokenizer.decode(piece.tolist()) for piece in pieces)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Both splits of a source under one tokenizer.

    contents: a hash of the training text; it doesn't depend on where the text is stored. entropy_bits: the exact information
    of the validation text in bits, if the source knows it.
    """

    name: str
    contents: str
    tokenizer: Tokenizer
    train: Shard
    validation: Shard
    entropy_bits: float | None
    folder: Path | None = None


def prepare(source: Source, tokenizer: TokenizerConfig, caches: Sequence[Path],
            progress: Progress = lambda doing, n_bytes: None) -> Corpus:
    """The corpus of ``source`` under ``tokenizer``: from the first cache that has it whole, or written to the first that can be
    written.

    progress is called with what is done and a number of bytes: ``checking`` the text and the corpus, ``tokenizer`` (documents
    that it learns from), and the name of a split that is written.
    """
    def advance(n_bytes: int) -> None:
        progress("checking", n_bytes)

    mark = source.fingerprint(advance)
    made_of = json.dumps([FORMAT, mark, encode(tokenizer)], sort_keys=True)
    place = Path("corpora", hashlib.sha256(made_of.encode()).hexdigest()[:16])
    found = (_opened(cache / place, source, tokenizer, advance) for cache in caches)
    whole = next(filter(None, found), None)
    if whole is None:
        folder = writable(caches) / place
        try:
            _write(source, mark, tokenizer, folder, progress)
        except OSError as error:
            raise cannot_write(folder, error) from None
        whole = _opened(folder, source, tokenizer, advance)
    if whole is None:
        raise UserError(f"{folder}: this corpus was changed while it was written; run again")
    return whole


def _write(source: Source, mark: str, tokenizer: TokenizerConfig, folder: Path, progress: Progress) -> None:
    """Write all files of a corpus. Two writers at once write the same files, so it doesn't matter whose stay."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder.parent))
    try:
        built = tokenizer.build(_watched(source.documents("train"), progress))
        built.save(scratch)
        record: dict = {"source": source.name}  # for people: the same text may have other names
        for split in SPLITS:
            record[split] = _write_split(scratch, split, source.documents(split), built, progress)
        record["entropy_bits"] = _entropy(source)
        if source.fingerprint() != mark:
            raise UserError(f"{source.name}: this text was changed while it was read; run again when nothing writes to it")
        record["files"] = {path.name: digest_of(path) for path in sorted(scratch.iterdir())}
        record["sum"] = _sum(record)
        (scratch / RECORD).write_text(json.dumps(record, indent=1))
        for name in [*record["files"], RECORD]:
            (scratch / name).replace(folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_split(folder: Path, split: str, documents: Iterator[bytes], tokenizer: Tokenizer, progress: Progress) -> dict:
    starts, n_bytes, contents = array("q", [0]), 0, hashlib.sha256()
    with open(folder / f"{split}.bin", "wb") as file:
        for document in documents:
            tokens = _encoded(document, tokenizer)
            file.write(tokens.data)
            contents.update(b"%d:" % len(tokens))
            contents.update(tokens.data)
            starts.append(starts[-1] + len(tokens))
            n_bytes += len(document)
            progress(split, len(document))
    np.save(folder / f"{split}.starts.npy", np.array(starts, dtype=np.int64))
    return {"bytes": n_bytes, "contents": contents.hexdigest()[:16]}


def _encoded(document: bytes, tokenizer: Tokenizer) -> np.ndarray:
    return np.ascontiguousarray(tokenizer.encode(document), dtype=tokenizer.dtype)


def _entropy(source: Source) -> float | None:
    """The information of the validation text in bits, if the source knows it."""
    total = 0.0
    for document in source.documents("validation"):
        bits = source.entropy_bits(document)
        if bits is None:
            return None
        total += bits
    return total


def _watched(documents: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for document in documents:
        progress("tokenizer", len(document))
        yield document


def _sweep(corpora: Path) -> None:
    """Delete what killed writers left."""
    for scratch in corpora.glob(f"{SCRATCH}*"):
        try:
            last = max(path.stat().st_mtime for path in [scratch, *scratch.iterdir()])
        except OSError:  # somebody else deletes it
            continue
        if time.time() - last > ABANDONED:
            shutil.rmtree(scratch, ignore_errors=True)


def _opened(folder: Path, source: Source, tokenizer: TokenizerConfig, advance: Advance) -> Corpus | None:
    """The corpus in a folder. None if there is none, or if anything in it isn't as it was written."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record.pop("sum") != _sum(record):
            return None
        if any(digest_of(folder / name, advance) != known for name, known in record["files"].items()):
            return None
        built = tokenizer.load(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError):
        return None
    shards = {split: _shard(folder, split, record[split], built) for split in SPLITS}
    return Corpus(source.name, record["train"]["contents"], built, **shards, entropy_bits=record["entropy_bits"], folder=folder)


def _sum(record: dict) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def _shard(folder: Path, split: str, record: dict, tokenizer: Tokenizer) -> Shard:
    tokens = np.memmap(folder / f"{split}.bin", dtype=tokenizer.dtype, mode="r")
    starts = np.load(folder / f"{split}.starts.npy", allow_pickle=False)
    return Shard(tokens, starts, record["bytes"], _columns(folder, split, len(tokens)))


def add_column(corpus: Corpus, split: str, name: str, values: np.ndarray) -> None:
    """Save an array [token, ...] beside the tokens of one split. From then on it is in ``Shard.columns``, and its entries are
    in ``Batch.extra``. ValueError if it doesn't have an entry for each token.
    """
    shard: Shard = getattr(corpus, split)
    if len(values) != len(shard.tokens):
        raise ValueError(f"column {name}: it has {len(values)} entries, and {split} has {len(shard.tokens)} tokens")
    if corpus.folder is None:
        raise ValueError("this corpus isn't on disk, so a column can't be saved with it")
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=corpus.folder) as scratch:
        path = Path(scratch, f"{split}{COLUMN}{name}.npy")
        np.save(path, np.ascontiguousarray(values))
        path.replace(corpus.folder / path.name)


def _columns(folder: Path, split: str, n_tokens: int) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob(f"{split}{COLUMN}*.npy")):
        name = path.name.removeprefix(f"{split}{COLUMN}").removesuffix(".npy")
        try:
            found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: a damaged column ({error}); delete that file and make it again") from None
        if len(found[name]) != n_tokens:
            raise UserError(f"{path}: this column has {len(found[name])} entries for {n_tokens} tokens; delete it and make it "
                            "again")
    return found
