"""What a benchmark consists of."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Item:
    """pairs: a context and what may follow it, for each choice. choices: as their lengths are counted. gold: the right
    one. groups: what the item is counted under, besides the whole; the last is its paradigm or subject.
    """

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    gold: int
    groups: tuple[str, ...] = ()
