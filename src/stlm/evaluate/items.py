"""What a benchmark consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Item:
    """pairs: a context and what may follow it, for each choice. choices: as their lengths are counted. gold: the right
    one. groups: what the item is counted under, besides the whole; the last is its paradigm or subject.
    """

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    gold: int
    groups: tuple[str, ...] = ()


def multiple_choice(context: str, choices: Sequence[str], gold: int, groups: tuple[str, ...] = ()) -> Item:
    """An item whose choices follow the same context, each after a space. Raises ValueError where none of them is ``gold``."""
    if not 0 <= gold < len(choices):
        raise ValueError(f"the right answer is number {gold} of {len(choices)}")
    return Item(tuple((context, f" {choice}") for choice in choices), tuple(choices), gold, groups)


def sample(items: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    """``limit`` of the items, drawn by ``seed`` and in their order; all where None."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = np.sort(np.random.Generator(np.random.Philox(seed)).permutation(len(items))[:limit])
    return [items[number] for number in chosen]
