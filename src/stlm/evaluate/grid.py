"""A table of figures, for the terminal and for a page alike."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Grid:
    """title: what it shows. columns: their names, of which the first, over the names of the rows, may be empty. rows: a name
    and cells each. note: what a reader has to know. own: the number of the row that stands out.

    shares, of the rows, between 0 and 1, and chance: a page draws bars of these instead of a table.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    own: int | None = None
    shares: tuple[float, ...] = ()
    chance: float | None = None
