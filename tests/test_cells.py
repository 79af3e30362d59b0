"""The combinations that the tests run over every day hold each kind, and each pair of kinds that can stand together."""

from __future__ import annotations

import itertools

from stlm.config.slot import kinds
from stlm.model import small
from tests.cells import CELLS, COLUMNS, SLOTS, USUAL, fits, pairwise


def test_every_kind_is_there():
    for place, name in enumerate(SLOTS):
        parts = {small.small_part(name, cell[place]).kind for cell in CELLS}
        assert parts == set(kinds(small.SLOTS[name])), name
    assert all(map(fits, CELLS))


def test_every_pair_that_goes_with_the_usual_parts_is_there():
    for one, other in itertools.combinations(SLOTS, 2):
        met = {(cell[SLOTS.index(one)], cell[SLOTS.index(other)]) for cell in CELLS}
        for a, b in itertools.product(COLUMNS[one], COLUMNS[other]):
            if fits(tuple({**USUAL, one: a, other: b}.values())):
                assert (a, b) in met, (one, other)


def test_pairs_of_columns_with_a_rule():
    """All pairs but those that are forbidden; one that needs a third value gets it."""
    columns = {name: ["0", "1", "2"] for name in "abcd"}

    def fits(row):
        a, b, c, d = row
        return not (a == "1" and b == "1") and not (a == "2" and d == "2" and c != "1")

    rows = pairwise(columns, dict.fromkeys("abcd", "0"), fits)
    assert all(map(fits, rows)) and len(rows) < 20
    for (one, first), (other, second) in itertools.combinations(enumerate(columns.values()), 2):
        pairs = {(row[one], row[other]) for row in rows}
        assert pairs == {*itertools.product(first, second)} - ({("1", "1")} if (one, other) == (0, 1) else set())
