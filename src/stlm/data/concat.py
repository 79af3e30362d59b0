"""Several texts as one: ``--data wikipedia,books``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from stlm.data.digest import Advance, unseen
from stlm.data.sources import VALIDATION, Source, open_source


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
        if split != VALIDATION:
            return itertools.chain(*each)
        turns = itertools.zip_longest(*each)
        return (document for turn in turns for document in turn if document is not None)


def open_sources(spec: str, *, field: str = "text", seed: int = 0, megabytes: float = 16.0) -> Source:
    """The source that ``spec`` names, as for `open_source`. Commas separate several names."""
    names = spec.split(",")
    if len(names) == 1 or Path(spec).exists():
        return open_source(spec, field=field, seed=seed, megabytes=megabytes)
    return Concat([open_source(name.strip(), field=field, seed=seed, megabytes=megabytes) for name in names])
