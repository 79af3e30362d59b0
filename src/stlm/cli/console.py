"""The console of all verbs."""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

from stlm.cli.processes import speaks
from stlm.cli.streams import printable

NARROWEST = 40  # columns; no table fits into fewer, so a narrower terminal breaks the lines


class Console(rich.console.Console):
    """A console for texts from outside: nothing in a text is markup, and its control characters are shown and not obeyed. Of
    several processes only one shows something.
    """

    def __init__(self, stderr: bool = True) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, quiet=not speaks())

    def say(self, line: str) -> None:
        """Print a line. Only the terminal breaks it, so that it can be searched and copied as one."""
        self.print(line, soft_wrap=True)

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        found = super().size
        return ConsoleDimensions(max(NARROWEST, found.width), found.height)

    @property
    def coloured(self) -> bool:
        """Whether colours are shown."""
        return self.is_terminal and self.color_system is not None and not self.no_color

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
