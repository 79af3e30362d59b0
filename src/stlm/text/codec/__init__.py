"""Text to symbols and back. The slot ``codec``; its kinds are ``bytes``, ``bpe`` and ``subword``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class CodecConfig(Slot):
    """How text becomes symbols."""

    package: ClassVar[str] = "stlm.text.codec"

    @abc.abstractmethod
    def build(self, sample: Iterable[bytes]) -> Codec:
        """The codec, learned from ``sample`` (training documents) where this kind learns anything."""

    @abc.abstractmethod
    def outline(self) -> Codec:
        """A codec with as many symbols that has learned nothing: enough to build a model and count its parameters."""

    @abc.abstractmethod
    def load(self, folder: Path) -> Codec:
        """The codec as `Codec.save` left it in ``folder``."""


class Codec(abc.ABC):
    """A lossless map between bytes and symbols: ``decode(encode(data)) == data`` for all data.

    symbol_bytes: for each symbol the bytes that it stands for; specials stand for ``b""``.
    document: the special symbol that opens every document, and so also ends the one before it.
    mark: a special that may stand anywhere inside a text, as part of how it's written; None where there is none.
    """

    symbol_bytes: list[bytes]
    document: int
    mark: int | None = None

    @property
    def n_symbols(self) -> int:
        """Symbols in all, specials included: the width of the logits."""
        return len(self.symbol_bytes)

    @property
    def dtype(self) -> np.dtype:
        """The narrowest unsigned integer that holds every symbol which `encode` yields."""
        return np.dtype(np.uint16 if self.n_symbols <= 2**16 else np.uint32)

    @abc.abstractmethod
    def encode(self, data: bytes) -> np.ndarray:
        """Symbols of ``data``, without specials."""

    def decode(self, symbols: Iterable[int]) -> bytes:
        """The bytes of ``symbols``; specials add nothing."""
        return b"".join(self.symbol_bytes[symbol] for symbol in symbols)

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write what `CodecConfig.load` needs into an existing folder."""


def parts_words(symbol: bytes) -> bool:
    """Whether a byte is space-like: neither a letter, nor a digit, nor inside a UTF-8 character. Specials are."""
    return not (symbol.isalnum() or b"\x80" <= symbol <= b"\xbf")
