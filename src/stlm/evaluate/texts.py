"""Texts for evaluation: held-out documents, and training text for counting n-grams."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from stlm.data.readers import documents_of, readable_files
from stlm.data.shards import Corpus
from stlm.data.sources import open_source, split_of, until
from stlm.evaluate.items import sample

KNOWN = 8_000_000  # bytes of training text in which n-grams are counted
FEW = 200  # documents that are used if no text is given


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Documents that weren't trained on.

    source: where they are from. total: the number of documents there. seed: seed by which these were drawn; None for all.
    """

    documents: list[bytes]
    source: str
    total: int
    seed: int | None


class Texts:
    """The texts of an evaluation. Each is read when it is first used, and only once.

    text: a file, a folder or the name of a source; None means the run's own text. corpus: a function that opens the run's own
    text; None means the built-in corpus.
    """

    def __init__(self, text: str | None = None, corpus: Callable[[], Corpus] | None = None) -> None:
        self._text, self._corpus = text, corpus

    def held_out(self, limit: int | None, seed: int) -> HeldOut:
        """Documents of the given text. Without one, documents held out of the run's own text, or of the built-in corpus.

        If a given folder has files named validation or test, only these are used. limit: the number of documents, drawn by
        ``seed``; None means all of a given text, and `FEW` of another.
        """
        found, source = self._held_out
        drawn = sample(found, limit or (None if self._text else FEW), seed)
        return HeldOut(drawn, source, len(found), seed if len(drawn) < len(found) else None)

    def known(self) -> Iterator[bytes]:
        """`KNOWN` bytes of training documents: of the given text, or spread over the run's own text."""
        if self._corpus is None or self._text:
            documents = open_source(self._text or "world", field="text", seed=0, megabytes=4.0).documents("train")
        else:
            corpus = self._corpus()
            documents = corpus.train.documents(corpus.tokenizer, every=max(1, round(corpus.train.n_bytes / KNOWN)))
        return until(KNOWN, documents)

    @functools.cached_property
    def _held_out(self) -> tuple[list[bytes], str]:
        if self._text and Path(self._text).exists():
            path = Path(self._text)
            files = readable_files(path) if path.is_dir() else [path]
            named = [file for file in files if path.is_dir() and split_of(file.relative_to(path)) in ("validation", "test")]
            return [text for file in named or files for text in documents_of(file, "text")], self._text
        if self._corpus is not None and not self._text:
            own = self._corpus()
            return list(own.validation.documents(own.tokenizer)), f"held out of {own.name}"
        other = open_source(self._text or "world", field="text", seed=0, megabytes=1.0)
        return list(other.documents("validation")), other.name
