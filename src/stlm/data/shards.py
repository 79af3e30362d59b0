"""Text on disk as tokens, ready to be memory-mapped.

A corpus is a folder. Its name is the hash of everything that its content depends on. ``train.bin`` and ``validation.bin`` hold
the tokens of all documents end to end, and ``train.starts.npy`` holds where each document starts. The folder is written under
another name and renamed when it is complete, so a corpus that exists is complete. Columns, arrays with an entry for each token,
may be added later (`add_column`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from stlm.config.decode import encode
from stlm.config.files import read_json
from stlm.errors import UserError
from stlm.text.tokenizer import Tokenizer, TokenizerConfig

if typing.TYPE_CHECKING:
    from stlm.data.sources import Source

FORMAT = 3
SPLITS = ("train", "validation")
COLUMN = ".column."  # between the split and the name of a column's file


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
        encoded, n_bytes = [np.zeros(0, dtype=tokenizer.dtype)], 0
        for document in documents:
            encoded.append(tokenizer.encode(document))
            n_bytes += len(document)
        starts = np.cumsum([len(tokens) for tokens in encoded]).astype(np.int64)
        return cls(np.concatenate(encoded), starts, n_bytes)

    @property
    def n_documents(self) -> int:
        return len(self.starts) - 1

    def documents(self, tokenizer: Tokenizer, every: int = 1) -> Iterator[bytes]:
        """The text of each document, or of every ``every``-th one."""
        for number in range(0, self.n_documents, every):
            yield tokenizer.decode(self.tokens[self.starts[number]:self.starts[number + 1]].tolist())


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


def cache_folder() -> Path:
    """The folder of all corpora: ``$STLM_CACHE``, or ``stlm`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("STLM_CACHE") or Path(home) / "stlm")


def prepare(source: Source, tokenizer: TokenizerConfig, root: Path,
            progress: Callable[[str, int], None] = lambda split, n_bytes: None) -> Corpus:
    """The corpus of ``source`` under ``tokenizer``. It is read from ``root``, or written there first.

    progress is called for every document that is written, with the split and the number of bytes. Before that it is called
    for every document that a tokenizer learns from, with ``tokenizer`` instead of the split.
    """
    made_of = json.dumps([FORMAT, source.fingerprint(), encode(tokenizer)], sort_keys=True)
    folder = root / "corpora" / hashlib.sha256(made_of.encode()).hexdigest()[:16]
    if not (folder / "corpus.json").exists():
        try:
            _write(source, tokenizer, folder, progress)
        except OSError as error:
            raise UserError(f"{folder}: the corpus cannot be written: {error.strerror}; "
                            "set STLM_CACHE to a folder with room") from None
    record = read_json(folder / "corpus.json")
    built = tokenizer.load(folder)
    shards = {split: _open(folder, split, record[split], built) for split in SPLITS}
    return Corpus(source.name, record["train"]["contents"], built, **shards, entropy_bits=record["entropy_bits"], folder=folder)


def _write(source: Source, tokenizer: TokenizerConfig, folder: Path, progress: Callable[[str, int], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        built = tokenizer.build(_watched(source.documents("train"), progress))
        built.save(scratch)
        record: dict = {"source": source.name, "entropy_bits": 0.0}
        for split in SPLITS:
            starts, n_bytes, contents = [0], 0, hashlib.sha256()
            with open(scratch / f"{split}.bin", "wb") as file:
                for document in source.documents(split):
                    tokens = np.ascontiguousarray(built.encode(document), dtype=built.dtype)
                    file.write(tokens.tobytes())
                    contents.update(b"%d:" % len(tokens) + tokens.tobytes())
                    starts.append(starts[-1] + len(tokens))
                    n_bytes += len(document)
                    progress(split, len(document))
                    if split == "validation" and record["entropy_bits"] is not None:
                        bits = source.entropy_bits(document)
                        record["entropy_bits"] = None if bits is None else record["entropy_bits"] + bits
            np.save(scratch / f"{split}.starts.npy", np.array(starts, dtype=np.int64))
            record[split] = {"bytes": n_bytes, "tokens": starts[-1], "contents": contents.hexdigest()[:16]}
        (scratch / "corpus.json").write_text(json.dumps(record, indent=1))
        if not (folder / "corpus.json").exists():  # another process may have written it meanwhile
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _watched(documents: Iterator[bytes], progress: Callable[[str, int], None]) -> Iterator[bytes]:
    for document in documents:
        progress("tokenizer", len(document))
        yield document


def _open(folder: Path, split: str, record: dict, tokenizer: Tokenizer) -> Shard:
    path = folder / f"{split}.bin"
    try:
        tokens = np.memmap(path, dtype=tokenizer.dtype, mode="r")
        starts = np.load(folder / f"{split}.starts.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: a damaged corpus ({error}); delete that folder and run again") from None
    if len(tokens) != record["tokens"] or starts[-1] != record["tokens"]:
        raise UserError(f"{folder}: a damaged corpus ({split} has another length); delete that folder and run again")
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
    scratch = corpus.folder / f".writing-{split}.{name}.npy"
    np.save(scratch, np.ascontiguousarray(values))
    scratch.rename(corpus.folder / f"{split}{COLUMN}{name}.npy")


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
