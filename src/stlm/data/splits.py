"""Two splits of a text, train and validation: as they are given, or held out of text that has none."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator

from stlm.data.listing import TRAIN, VALIDATION
from stlm.errors import UserError

LEAST = 1000  # smallest number of bytes of text that a model can learn from, and that is held out
FEW = 50  # with fewer documents than this, part of the text is held out instead of whole documents
HELD_OUT = 100  # one document in so many is held out if there are many
TAIL, TAIL_AT_MOST = 0.1, 1_000_000  # share of the bytes that is held out of few documents, and the most bytes

Documents = Callable[[], Iterator[bytes]]  # every call returns the same documents, from the first on


class Given:
    """Two splits that already exist as such."""

    rule = ""  # nothing was chosen

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


@dataclasses.dataclass(frozen=True)
class _Choice:
    """hashes: documents are held out whose hash is one of the first so many; 0 means that bytes decide. cut: the byte at which
    validation begins. usual: whether this is what is held out of a long text.
    """

    hashes: int = 0
    cut: int = 0
    usual: bool = True


class HeldOut:
    """Two splits of text that has no splits of its own.

    Of many documents, about one in a hundred is validation text; a hash of the document decides, so
    equal documents are in the same split. With fewer than 50 documents, or if one split would be
    empty, the last tenth of the bytes is validation text, 1 MB at most. That part begins at the
    beginning of a UTF-8 character. Where that comes to fewer than ``least`` bytes, more is held out,
    at most half of the text.
    """

    def __init__(self, where: str, documents: Documents, least: int = LEAST) -> None:
        self._where, self._read, self._least = where, documents, least

    def documents(self, split: str) -> Iterator[bytes]:
        wanted = {TRAIN: False, VALIDATION: True}[split]
        choice = self._choice
        if choice.hashes:
            return (text for text in self._read() if (_hash_of(text) < choice.hashes) == wanted)
        return self._parts(choice.cut, wanted)

    @property
    def rule(self) -> str:
        """What was chosen because the text is short; "" if it is long enough."""
        return "" if self._choice.usual else repr(self._choice)

    @functools.cached_property
    def _choice(self) -> _Choice:
        """Reading stops as soon as it is clear that the usual hashes decide."""
        sizes, count = [0] * HELD_OUT, 0  # bytes of the documents of each hash
        for count, document in enumerate(self._read(), start=1):
            sizes[_hash_of(document)] += len(document)
            if count >= FEW and sizes[0] >= self._least and sum(sizes) >= max(LEAST, sizes[0] + 1):
                return _Choice(hashes=1)
        total = sum(sizes)
        _check_size(self._where, total)
        for hashes, held in enumerate(itertools.accumulate(sizes), start=1):
            if count >= FEW and self._least <= held <= total // 2:
                return _Choice(hashes=hashes, usual=False)
        usual = min(int(TAIL * total), TAIL_AT_MOST)
        held = max(usual, min(self._least, total // 2))
        return _Choice(cut=total - held, usual=held == usual)

    def _parts(self, cut: int, held_out: bool) -> Iterator[bytes]:
        """The text before byte ``cut`` of all documents end to end, or the text from that byte on."""
        for document in self._read():
            index = min(max(cut, 0), len(document))
            if 0 < index < len(document):
                index = _character_start(document, index)
            if part := document[index:] if held_out else document[:index]:
                yield part
            cut -= len(document)


def until(budget: int, documents: Iterator[bytes]) -> Iterator[bytes]:
    """Whole documents, until they have at least ``budget`` bytes together."""
    for document in documents:
        yield document
        budget -= len(document)
        if budget <= 0:
            return


def _hash_of(document: bytes) -> int:
    """A number below `HELD_OUT`."""
    return int.from_bytes(hashlib.blake2b(document, digest_size=8).digest(), "big") % HELD_OUT


def _character_start(data: bytes, index: int) -> int:
    """The first index, from ``index`` on, at which a UTF-8 character begins; ``index`` if there is none."""
    for here in range(index, min(index + 4, len(data))):
        if data[here] & 0xC0 != 0x80:
            return here
    return index


def _size(documents: Iterator[bytes], at_most: int) -> int:
    """The number of bytes of some documents. Counting stops after ``at_most``."""
    return sum(map(len, until(at_most, documents)))


def _check_size(where: str, n_bytes: int) -> None:
    if n_bytes < LEAST:
        raise UserError(f"{where}: {n_bytes} bytes of text are too little to learn from; "
                        "stlm needs at least 1 kB (empty and binary files in folders don't count)")
