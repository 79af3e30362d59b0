"""Bytes, with a mark between the subwords of a byte-pair encoding. Patches of subwords end at the marks.

The subwords are not tokens of the model. The model reads and writes bytes, and a mark after each subword. So no later byte is
needed to find where a patch ends, and the likelihood of the text with its marks is proper. It is a lower bound of the
likelihood of the text, because other ways to place the marks are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np

from stlm.config.bounds import Megabytes, Range, Size
from stlm.text.tokenizer import Tokenizer, TokenizerConfig, bpe
from stlm.text.tokenizer.bytes import BOS

MARK = 257


@dataclasses.dataclass(frozen=True)
class Config(TokenizerConfig):
    """Bytes, with a mark where each token of a byte-pair encoding ends. The encoding is learned from the run's own text."""

    vocab_size: Annotated[int, Range(258, 2**20)] = 4096
    """Number of tokens in the encoding."""
    longest: Size = 12
    """Largest number of bytes between two marks. Longer tokens get marks inside."""
    sample_megabytes: Megabytes = 20.0
    """Millions of bytes of training text to learn from."""

    def _tokens(self) -> bpe.Config:
        return bpe.Config(self.vocab_size, self.sample_megabytes)

    def build(self, sample: Iterable[bytes]) -> SubwordTokenizer:
        return SubwordTokenizer(self._tokens().build(sample), self.longest)

    def outline(self) -> SubwordTokenizer:
        return SubwordTokenizer(self._tokens().outline(), self.longest)

    def load(self, folder: Path) -> SubwordTokenizer:
        return SubwordTokenizer(self._tokens().load(folder), self.longest)


class SubwordTokenizer(Tokenizer):
    """Token b < 256 is the byte b; 256 is BOS; 257 is the mark."""

    token_bytes = [bytes([value]) for value in range(256)] + [b"", b""]
    bos = BOS
    mark = MARK
    dtype = np.dtype(np.uint16)

    def __init__(self, tokens: Tokenizer, longest: int) -> None:
        self._tokens, self._longest = tokens, longest
        self._sizes = np.array([len(token) for token in tokens.token_bytes])

    def encode(self, data: bytes) -> np.ndarray:
        return np.concatenate([self._marked(piece) for piece in bpe.cut(data)])[1:]

    def _marked(self, data: bytes) -> np.ndarray:
        """Bytes with a mark before each subword."""
        sizes = self._sizes[self._tokens.encode(data)]
        starts = np.cumsum(sizes) - sizes
        pieces = -(-sizes // self._longest)
        nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        marks = np.repeat(starts, pieces) + nth * self._longest
        return np.insert(np.frombuffer(data, dtype=np.uint8).astype(self.dtype), marks, MARK)

    def save(self, folder: Path) -> None:
        self._tokens.save(folder)
