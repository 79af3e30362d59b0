"""Texts for evaluation: held-out documents, and training text for counting n-grams."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

from stlm.data.concat import open_sources
from stlm.data.shards import Corpus
from stlm.data.sources import Source
from stlm.data.splits import until
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

    text: a file, a folder or the name of a source, as for `open_sources`; None means the run's own text. field: the field that
    holds it. corpus: a function that opens the run's own text; None means the built-in corpus.
    """

    def __init__(self, text: str | None = None, corpus: Callable[[], Corpus] | None = None, field: str = "text") -> None:
        self._text, self._corpus, self._field = text, corpus, field

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
            documents = self._opened(megabytes=4.0).documents("train")
        else:
            corpus = self._corpus()
            documents = corpus.train.documents(corpus.tokenizer, every=max(1, round(corpus.train.n_bytes / KNOWN)))
        return until(KNOWN, documents)

    @functools.cached_property
    def given(self) -> Source:
        """The given text, or else the built-in corpus."""
        return self._opened(megabytes=1.0)

    @functools.cached_property
    def _held_out(self) -> tuple[list[bytes], str]:
        if self._corpus is not None and not self._text:
            own = self._corpus()
            return list(own.validation.documents(own.tokenizer)), f"held out of {own.name}"
        return list(self.given.to_score()), self._text or self.given.name

    def _opened(self, megabytes: float) -> Source:
        return open_sources(self._text or "world", field=self._field, megabytes=megabytes)
