"""Several texts as one: ``--data wikipedia,books``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from stlm.config.words import split_list
from stlm.data.digest import Advance, unseen
from stlm.data.sources import LEAST, VALIDATION, Source, open_source


class Concat(Source):
    """All documents of several sources.

    Training text comes source by source; the stream shuffles it anyway. Held-out text takes a document of each source in turn,
    so that its first part has something of each.
    """

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self.name = ", ".join(source.name for source in sources)
        sizes = [source.size_hint for source in sources]
        self.size_hint = None if None in sizes else sum(size for size in sizes if size is not None)

    def fingerprint(self, advance: Advance = unseen) -> str:
        return "+".join(source.fingerprint(advance) for source in self.sources)

    def documents(self, split: str) -> Iterator[bytes]:
        each = [source.documents(split) for source in self.sources]
        return _in_turn(each) if split == VALIDATION else itertools.chain(*each)

    def to_score(self) -> Iterator[bytes]:
        return _in_turn([source.to_score() for source in self.sources])

    def about(self, *, scoring: bool = False) -> str:
        said = [(source.name, source.about(scoring=scoring)) for source in self.sources]
        return "; ".join(f"{name}: {about}" for name, about in said if about)

    @property
    def holds_more(self) -> bool:
        return any(source.holds_more for source in self.sources)


def open_sources(spec: str, *, field: str = "text", seed: int = 0, megabytes: float = 16.0, held_out: int = LEAST) -> Source:
    """The source that ``spec`` names, as for `open_source`. Commas separate several names; each holds out its part."""
    names = [spec] if Path(os.path.expanduser(spec)).exists() else split_list(spec) or [spec]
    part = -(-held_out // len(names))
    opened = [open_source(name, field=field, seed=seed, megabytes=megabytes, held_out=part) for name in names]
    return opened[0] if len(opened) == 1 else Concat(opened)


def _in_turn(each: list[Iterator[bytes]]) -> Iterator[bytes]:
    return (document for turn in itertools.zip_longest(*each) for document in turn if document is not None)
