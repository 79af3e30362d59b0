"""Bytes as symbols: 256 values and two specials. Nothing is learned and nothing is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stlm.text.codec import Codec, CodecConfig

DOCUMENT = 256
MASK = 257


@dataclasses.dataclass(frozen=True)
class Config(CodecConfig):
    """Raw bytes, one symbol each."""

    def build(self, sample: Iterable[bytes] = ()) -> ByteCodec:
        return ByteCodec()

    def outline(self) -> ByteCodec:
        return ByteCodec()

    def load(self, folder: Path) -> ByteCodec:
        return ByteCodec()


class ByteCodec(Codec):
    """Symbol b < 256 is the byte b; 256 opens a document; 257 stands for a hidden byte in masked objectives."""

    symbol_bytes = [bytes([value]) for value in range(256)] + [b"", b""]
    document = DOCUMENT
    dtype = np.dtype(np.uint8)

    def encode(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.uint8)

    def save(self, folder: Path) -> None:
        """Nothing to write: this codec has no state."""
