"""Denoising of spans in a causal model (UL2, Tay et al. 2022, arXiv 2205.05131; as rearranged text, Bavarian et al. 2022,
arXiv 2207.14255).

In some rows, spans of each document are cut out. One token stands where each was, and the spans follow at the document's end,
each after that token. So the model learns to fill gaps from both sides, and it still reads from left to right. Short spans and
long spans take turns at random; text without gaps is the third kind of the paper, prediction of what follows.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Annotated

import numpy as np

from stlm.config.bounds import Range, Share
from stlm.model.model_config import ModelConfig
from stlm.objective.some_rows import Row, SomeRows, SomeRowsConfig, check_spans, spans
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(SomeRowsConfig):
    """Cross-entropy of the next token, and in some rows of text whose gaps are filled at the end."""

    short: Annotated[float, Range(1, 256)] = 12.0
    """Mean length of short spans, in tokens."""
    long: Annotated[float, Range(1, 4096)] = 100.0
    """Mean length of long spans, in tokens."""
    hidden: Annotated[float, Range(0.01, 0.9)] = 0.15
    """Share of the tokens that are cut out as short spans."""
    hidden_long: Annotated[float, Range(0.01, 0.9)] = 0.4
    """Share of the tokens that are cut out as long spans."""
    long_ratio: Share = 0.5
    """Share of the changed rows with long spans."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_spans(self.hidden, self.short, "hidden and short")
        check_spans(self.hidden_long, self.long, "hidden_long and long")

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Spans:
        return Spans(self, tokenizer)


class Spans(SomeRows):
    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.short, self.long = (config.hidden, config.short), (config.hidden_long, config.long)
        self.long_ratio = config.long_ratio

    def changed(self, tokens: np.ndarray, counted: np.ndarray, draw: np.random.Generator) -> Row:
        """The rearranged row. Each gap needs two more tokens, so the end of the row is left out. A gap isn't predicted."""
        share, mean = self.long if draw.random() < self.long_ratio else self.short
        n = int(counted.sum()) + 1  # tokens of the row; padding follows
        opens = [0, *(np.flatnonzero(tokens[1:n] == self.bos) + 1)]
        gaps = list(itertools.chain.from_iterable(
            self._split(start, end, tokens, opens) for start, end in spans(n, share, mean, draw)))
        while n + 2 * len(gaps) > len(tokens):
            n -= 1
            while gaps and gaps[-1][0] >= n:
                gaps.pop()
        gaps = [(start, min(end, n)) for start, end in gaps]
        edges = itertools.pairwise([*(first for first in opens if first < n), n])
        new = np.concatenate([piece for first, last in edges for piece in self._document(tokens, first, last, gaps)])
        there = np.arange(len(tokens)) < len(new)
        new = np.pad(new, (0, len(tokens) - len(new)))
        return Row(new[:-1], new[1:], (there[1:] & (new[1:] != self.hidden)).astype(np.float32))

    def _split(self, start: int, end: int, tokens: np.ndarray, opens: list[int]) -> Iterator[tuple[int, int]]:
        """The parts of a span in each document. The token that opens a document is in none."""
        for first, last in itertools.pairwise([*opens[max(0, bisect.bisect(opens, start) - 1):], len(tokens)]):
            if first >= end:
                return
            begin = max(start, first + int(tokens[first] == self.bos))
            if begin < min(end, last):
                yield begin, min(end, last)

    def _document(self, tokens: np.ndarray, first: int, last: int, gaps: list[tuple[int, int]]) -> list[np.ndarray]:
        """The pieces of one document, tokens ``first`` to ``last``: what is left, then what was cut out."""
        sign, left, filled, place = np.array([self.hidden], tokens.dtype), list[np.ndarray](), list[np.ndarray](), first
        for start, end in ((start, end) for start, end in gaps if first <= start < last):
            left += [tokens[place:start], sign]
            filled += [sign, tokens[start:end]]
            place = end
        return [*left, tokens[place:last], *filled]
