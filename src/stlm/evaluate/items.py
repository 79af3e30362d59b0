"""Items: the questions of a benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Item:
    """pairs: for each choice, a context and the text after it. choices: the texts whose lengths are used for norms. gold:
    number of the right choice. groups: groups that also count the item; the last is its paradigm or subject.
    """

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    gold: int
    groups: tuple[str, ...] = ()


def multiple_choice(context: str, choices: Sequence[str], gold: int, groups: tuple[str, ...] = ()) -> Item:
    """An item whose choices follow the same context, each after a space. ValueError if there is no choice number ``gold``."""
    if not 0 <= gold < len(choices):
        raise ValueError(f"the right answer is number {gold} of {len(choices)}")
    return Item(tuple((context, f" {choice}") for choice in choices), tuple(choices), gold, groups)


def sample(items: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    """``limit`` of the items, drawn by ``seed`` and in their order; None means all."""
    if limit is None or limit >= len(items):
        return list(items)
    chosen = np.sort(np.random.Generator(np.random.Philox(seed)).permutation(len(items))[:limit])
    return [items[number] for number in chosen]
