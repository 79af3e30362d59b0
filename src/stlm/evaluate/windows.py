"""Texts as windows that a model reads: which symbols it sees, and which of them are scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from stlm.evaluate.scorer import Likelihood


@dataclasses.dataclass(frozen=True)
class Window:
    """symbols: what is read; each is predicted from those before it. first: the place of the first that is scored.
    text: the number of the text that it is of.
    """

    symbols: np.ndarray
    first: int
    text: int

    def __len__(self) -> int:
        return len(self.symbols)


class Tally:
    """What the windows of several texts add up to."""

    def __init__(self, windows: Sequence[Window], texts: int) -> None:
        self._log_p, self._greedy = np.zeros(texts), np.ones(texts, dtype=bool)
        self._left = np.bincount([window.text for window in windows], minlength=texts)
        self._done = 0

    def add(self, window: Window, log_p: float, greedy: bool) -> None:
        """The figures of one window."""
        self._log_p[window.text] += log_p
        self._greedy[window.text] &= greedy
        self._left[window.text] -= 1
        self._done += int(self._left[window.text] == 0)

    def done(self) -> int:
        """How many texts have become whole since this was asked the last time."""
        done, self._done = self._done, 0
        return done

    def found(self) -> list[Likelihood]:
        """The likelihood of each text."""
        return [Likelihood(float(log_p), bool(greedy)) for log_p, greedy in zip(self._log_p, self._greedy, strict=True)]


def after(context: np.ndarray, whole: np.ndarray, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows that score what ``whole`` has beyond ``context``.

    Symbols that a context changes by what follows it (a tokenizer may join them) are scored too.
    """
    n = min(len(context), len(whole))
    differ = np.flatnonzero(context[:n] != whole[:n])
    return cut(whole, int(differ[0]) if len(differ) else n, opening, limit, text)


def cut(symbols: np.ndarray, first: int, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows of at most ``limit`` symbols in which all symbols from ``first`` on are scored once.

    ``opening`` stands at the beginning of each. A window sees as much as it can before its first scored symbol; where one
    doesn't hold all of them, windows overlap by half.
    """
    room, head, out = limit - len(opening), np.array(opening, dtype=np.int64), list[Window]()
    while first < len(symbols) or not out:
        if len(symbols) <= room or len(symbols) - first <= room // 2:
            end = len(symbols)
        else:
            end = room if first < room else first + max(1, room // 2)
        start = max(0, end - room)
        out.append(Window(np.concatenate([head, symbols[start:end]]), first - start + len(head), text))
        first = end
    return out
