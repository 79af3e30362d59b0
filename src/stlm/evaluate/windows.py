"""Texts as windows that a model reads: which tokens it sees, and which of them are scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from stlm.evaluate.scorer import Likelihood


@dataclasses.dataclass(frozen=True)
class Window:
    """tokens: what is read; each is predicted from those before it. first: the place of the first that is scored.
    text: the number of the text that it is of. cut: whether something of that stands before it.
    """

    tokens: np.ndarray
    first: int
    text: int
    cut: bool = False

    def __len__(self) -> int:
        return len(self.tokens)


@dataclasses.dataclass(frozen=True)
class Found:
    """Of the scored tokens of a window: the logarithm of their probability, whether each is likelier than any other, and
    whether each is at least as likely.
    """

    log_p: float
    greedy: bool
    level: bool


def ranked(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The score of each target, whether all others are lower, and whether none is higher: scores [n, token], targets [n]."""
    own, (first, second) = scores.gather(-1, targets[:, None])[:, 0], scores.topk(2).values.unbind(-1)
    return own, (own == first) & (first > second), own == first


class Tally:
    """What the windows of several texts add up to."""

    def __init__(self, windows: Sequence[Window], texts: int) -> None:
        self._log_p, self._cut = np.zeros(texts), np.zeros(texts, dtype=bool)
        self._greedy, self._level = np.ones(texts, dtype=bool), np.ones(texts, dtype=bool)
        self._left = np.bincount([window.text for window in windows], minlength=texts)
        self._done = 0

    def add(self, window: Window, found: Found) -> None:
        """The figures of one window."""
        self._log_p[window.text] += found.log_p
        self._greedy[window.text] &= found.greedy
        self._level[window.text] &= found.level
        self._cut[window.text] |= window.cut
        self._left[window.text] -= 1
        self._done += int(self._left[window.text] == 0)

    def done(self) -> int:
        """How many texts have become whole since this was asked the last time."""
        done, self._done = self._done, 0
        return done

    def found(self) -> list[Likelihood]:
        """The likelihood of each text."""
        each = zip(self._log_p, self._greedy, self._level & ~self._greedy, self._cut, strict=True)
        return [Likelihood(float(log_p), bool(greedy), bool(tied), bool(cut)) for log_p, greedy, tied, cut in each]


def after(context: np.ndarray, whole: np.ndarray, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows that score what ``whole`` has beyond ``context``.

    Tokens that a context changes by what follows it (a tokenizer may join them) are scored too.
    """
    n = min(len(context), len(whole))
    differ = np.flatnonzero(context[:n] != whole[:n])
    return cut(whole, int(differ[0]) if len(differ) else n, opening, limit, text)


def cut(tokens: np.ndarray, first: int, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows of at most ``limit`` tokens in which all tokens from ``first`` on are scored once.

    ``opening`` stands at the beginning of each. A window sees as much as it can before its first scored token; where one
    doesn't hold all of them, windows overlap by half.
    """
    room, head, out = limit - len(opening), np.array(opening, dtype=np.int64), list[Window]()
    while first < len(tokens) or not out:
        if len(tokens) <= room or len(tokens) - first <= room // 2:
            end = len(tokens)
        else:
            end = room if first < room else first + max(1, room // 2)
        start = max(0, end - room)
        out.append(Window(np.concatenate([head, tokens[start:end]]), first - start + len(head), text, start > 0))
        first = end
    return out
