"""A table of figures, for the terminal and for HTML pages."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Grid:
    """title: what it shows. columns: their names; the first is over the names of the rows and may be empty. rows: a name and
    cells each. note: an explanation for the reader. own: the number of the row to highlight.

    shares: one number between 0 and 1 per row. If they are given, a page draws them as bars, with a line at ``chance``, instead
    of a table.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    own: int | None = None
    shares: tuple[float, ...] = ()
    chance: float | None = None
