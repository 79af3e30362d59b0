"""Text to tokens and back. The slot ``tokenizer``; its kinds are ``bytes``, ``bpe`` and ``subword``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Slot):
    """How text becomes tokens."""

    package: ClassVar[str] = "stlm.text.tokenizer"

    @abc.abstractmethod
    def build(self, sample: Iterable[bytes]) -> Tokenizer:
        """The tokenizer, learned from ``sample`` (training documents) where this kind learns anything."""

    @abc.abstractmethod
    def outline(self) -> Tokenizer:
        """A tokenizer with as many tokens that has learned nothing: enough to build a model and count its parameters."""

    @abc.abstractmethod
    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer as `Tokenizer.save` left it in ``folder``."""


class Tokenizer(abc.ABC):
    """A lossless map between bytes and tokens: ``decode(encode(data)) == data`` for all data.

    token_bytes: for each token the bytes that it stands for; specials stand for ``b""``.
    bos: the special token that opens every document, and so also ends the one before it.
    mark: a special that may stand anywhere inside a text, as part of how it's written; None where there is none.
    mask: a special that stands for a hidden token in masked objectives; None where there is none.
    """

    token_bytes: list[bytes]
    bos: int
    mark: int | None = None
    mask: int | None = None

    @property
    def vocab_size(self) -> int:
        """Tokens in all, specials included: the width of the logits."""
        return len(self.token_bytes)

    @property
    def dtype(self) -> np.dtype:
        """The narrowest unsigned integer that holds every token which `encode` yields."""
        return np.dtype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)

    @abc.abstractmethod
    def encode(self, data: bytes) -> np.ndarray:
        """Tokens of ``data``, without specials."""

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The bytes of ``tokens``; specials add nothing."""
        return b"".join(self.token_bytes[token] for token in tokens)

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write what `CodecConfig.load` needs into an existing folder."""


def parts_words(token: bytes) -> bool:
    """Whether a byte is space-like: neither a letter, nor a digit, nor inside a UTF-8 character. Specials are."""
    return not (token.isalnum() or b"\x80" <= token <= b"\xbf")
