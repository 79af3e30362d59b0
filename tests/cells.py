"""Which combinations of the model's parts the tests run over: a *cell* names a kind, or a variant of one, for each slot.

Every day, each kind alone and each pair of kinds of two slots that can stand together (`pairwise`); among the slow cases, also
`crossed`. Kinds are found by their files, so a new one joins by itself.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator

from stlm.config.slot import kinds
from stlm.errors import UserError
from stlm.model import small
from stlm.model.model_config import ModelConfig

# the order in which cells name their kinds; a cell may stop after any of them
SLOTS = list(dict.fromkeys(["patching", "pooling", "local", "head", "embedding", "copying", "trunk", *small.SLOTS]))
COLUMNS = {name: sorted({*kinds(small.SLOTS[name]), *small.SMALL.get(name, {})}) for name in SLOTS}
USUAL = {name: getattr(ModelConfig(), name).kind for name in SLOTS}


def pairwise(columns: dict[str, list[str]], usual: dict[str, str], fits: Callable[[tuple[str, ...]], bool]
             ) -> list[tuple[str, ...]]:
    """Rows of one value a column in which each pair of values that can stand together does so. ``usual`` fits; a pair can stand
    together where it does with the usual values, or with one other among them.
    """
    def ok(row: dict[str, str]) -> bool:
        return fits(tuple(row.get(name, usual[name]) for name in columns))

    wide = dict(sorted(columns.items(), key=lambda column: -len(column[1])))  # the widest first, which makes fewer rows
    todo = {frozenset(begun.items()): found for begun in _pairs(wide) if (found := _completed(begun, wide, ok))}
    rows, used = [], dict.fromkeys(((name, value) for name, values in wide.items() for value in values), 0)
    while todo:
        row = dict(next(iter(todo.values())))
        for name, values in wide.items():
            if name not in row:  # what makes most new pairs, and among such values what has been least used
                row[name] = max((value for value in values if ok(row | {name: value})), key=lambda value: (
                    sum(frozenset([item, (name, value)]) in todo for item in row.items()), -used[name, value]))
        for pair in itertools.combinations(row.items(), 2):
            todo.pop(frozenset(pair), None)
        for item in row.items():
            used[item] += 1
        rows.append(tuple(row[name] for name in columns))
    return rows


def _pairs(columns: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    for (one, first), (other, second) in itertools.combinations(columns.items(), 2):
        yield from ({one: a, other: b} for a, b in itertools.product(first, second))


def _completed(begun: dict[str, str], columns: dict[str, list[str]], ok: Callable[[dict[str, str]], bool]
               ) -> dict[str, str] | None:
    """What has to be chosen for these values to stand together: nothing else, or one other; None where they can't."""
    more = (begun | {name: value} for name, values in columns.items() if name not in begun for value in values)
    return next(filter(ok, itertools.chain([begun], more)), None)


@functools.cache
def fits(cell: tuple[str, ...]) -> bool:
    """Whether these parts can stand together."""
    try:
        small.small_config(dict(zip(SLOTS, cell, strict=True)))
    except UserError:
        return False
    return True


def crossed() -> list[tuple[str, ...]]:
    """Every combination of patching, pooling and head that isn't refused, with all combinations of the other parts in turn,
    and those that presets are made of.

    Local blocks, embedding, copying and trunk meet the rest of the model in what they look back at only.
    """
    of = {name: kinds(slot) for name, slot in small.SLOTS.items()}
    others = list(itertools.product(of["local"], of["embedding"], of["copying"], of["trunk"]))
    found = [(patching, "last", "conv", "tied", "recall", "pointer", "attention") for patching in of["patching"]]
    usual = tuple(USUAL.values())
    for patching, pooling, head in itertools.product(of["patching"], of["pooling"], of["head"]):
        if fits((patching, pooling, usual[2], head, *usual[4:])):
            local, embedding, copying, trunk = others[17 * len(found) % len(others)]  # 17 steps: each meets each of the others
            copying = copying if fits((patching, pooling, local, head, embedding, copying, trunk, *usual[7:])) else usual[5]
            found.append((patching, pooling, local, head, embedding, copying, trunk))
    return found


CELLS = pairwise(COLUMNS, USUAL, fits)
