"""Bytes as tokens: 256 values and two special tokens. Nothing is learned and nothing is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stlm.text.tokenizer import Tokenizer, TokenizerConfig

BOS = 256
MASK = 257


@dataclasses.dataclass(frozen=True)
class Config(TokenizerConfig):
    """Each byte is a token."""

    def build(self, sample: Iterable[bytes] = ()) -> ByteTokenizer:
        return ByteTokenizer()

    def outline(self) -> ByteTokenizer:
        return ByteTokenizer()

    def load(self, folder: Path) -> ByteTokenizer:
        return ByteTokenizer()


class ByteTokenizer(Tokenizer):
    """Token b < 256 is the byte b; 256 is BOS; 257 stands for a hidden byte in masked objectives."""

    token_bytes = [bytes([value]) for value in range(256)] + [b"", b""]
    bos = BOS
    mask = MASK
    dtype = np.dtype(np.uint8)

    def encode(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.uint8)

    def save(self, folder: Path) -> None:
        """Write nothing: this tokenizer has no state."""
