"""Texts as windows: which tokens a model reads, and which of them are scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stlm.evaluate.scorer import Likelihood
from stlm.model.scores import check_finite

# Where a text stands in a batch changes its log-probability L by at most 4e-7 * (1 + abs(L)), measured with 10m-en in float32.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a text that is read at once.

    tokens: the tokens that are read; each is predicted from those before it. first: index of the first scored token. text:
    number of the text. cut: whether the text has tokens before this window.
    """

    tokens: np.ndarray
    first: int
    text: int
    cut: bool = False

    def __len__(self) -> int:
        return len(self.tokens)


@dataclasses.dataclass(frozen=True)
class Found:
    """Figures of the scored tokens of a window.

    log_p: natural logarithm of their probability. greedy: whether each is likelier than any other token. level: whether each is
    at least as likely as any other token.
    """

    log_p: float
    greedy: bool
    level: bool


def ranked(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The score of each target, whether all other scores are lower, and whether none is higher: each [n], from scores
    [n, token] and targets [n]. Scores that differ by no more than rounding are equal.
    """
    own, (first, second) = scores.gather(-1, targets[:, None])[:, 0], scores.topk(2).values.unbind(-1)
    rounding = ROUNDING * (1 + first.abs())
    level = first - own <= rounding
    return own, level & (first - second > rounding), level


class Tally:
    """Adds up the figures of the windows of several texts."""

    def __init__(self, windows: Sequence[Window], texts: int) -> None:
        self._log_p, self._cut = np.zeros(texts), np.zeros(texts, dtype=bool)
        self._greedy, self._level = np.ones(texts, dtype=bool), np.ones(texts, dtype=bool)
        self._left = np.bincount([window.text for window in windows], minlength=texts)
        self._done = 0

    def add(self, window: Window, found: Found) -> None:
        """Add the figures of one window."""
        self._log_p[window.text] += found.log_p
        self._greedy[window.text] &= found.greedy
        self._level[window.text] &= found.level
        self._cut[window.text] |= window.cut
        self._left[window.text] -= 1
        self._done += int(self._left[window.text] == 0)

    def done(self) -> int:
        """The number of texts that were completed since the last call."""
        done, self._done = self._done, 0
        return done

    def found(self) -> list[Likelihood]:
        """The likelihood of each text. UserError if one isn't a finite number."""
        check_finite(torch.from_numpy(-self._log_p))
        each = zip(self._log_p, self._greedy, self._level & ~self._greedy, self._cut, strict=True)
        return [Likelihood(float(log_p), bool(greedy), bool(tied), bool(cut)) for log_p, greedy, tied, cut in each]


def after(context: np.ndarray, whole: np.ndarray, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows that score the tokens of ``whole`` after ``context``.

    A tokenizer may join the end of the context with what follows. Tokens at which ``whole`` differs from ``context`` are scored
    too.
    """
    return cut(whole, n_common(context, whole), opening, limit, text)


def n_common(a: np.ndarray, b: np.ndarray) -> int:
    """The number of first tokens that are the same in both."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def cut(tokens: np.ndarray, first: int, opening: Sequence[int], limit: int, text: int) -> list[Window]:
    """Windows of at most ``limit`` tokens. All tokens from ``first`` on are scored once.

    Each window begins with ``opening``. A window has as much context as possible before its first scored token. If one window
    is too small for all tokens, windows overlap by half.
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
