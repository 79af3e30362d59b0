"""Text to tokens and back. The slot is ``tokenizer``; its kinds are ``bytes``, ``bpe`` and ``subword``."""

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
    bytes_per_token: ClassVar[int] = 1  # about how many bytes of text a token stands for

    @abc.abstractmethod
    def build(self, sample: Iterable[bytes]) -> Tokenizer:
        """The tokenizer, learned from ``sample`` (training documents) if this kind learns anything."""

    @abc.abstractmethod
    def outline(self) -> Tokenizer:
        """A tokenizer of the same vocab_size that has learned nothing. It is enough to build a model and count its parameters.
        """

    @abc.abstractmethod
    def load(self, folder: Path) -> Tokenizer:
        """The tokenizer that `Tokenizer.save` wrote to ``folder``."""


class Tokenizer(abc.ABC):
    """A lossless map between bytes and tokens: ``decode(encode(data)) == data`` for all data.

    token_bytes: the bytes of each token; special tokens have ``b""``.
    bos: the special token at the beginning of every document. It also ends the document before.
    mark: a special token that may be anywhere inside a text; None if there is none.
    mask: the special token of a hidden token in masked objectives; None if there is none.
    """

    token_bytes: list[bytes]
    bos: int
    mark: int | None = None
    mask: int | None = None

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included: the width of the logits."""
        return len(self.token_bytes)

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned integer type that holds every token of `encode`."""
        return np.dtype(np.uint16 if self.vocab_size <= 2**16 else np.uint32)

    @abc.abstractmethod
    def encode(self, data: bytes) -> np.ndarray:
        """Tokens of ``data``, without BOS and mask."""

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The bytes of ``tokens``. Special tokens add nothing."""
        return b"".join(self.token_bytes[token] for token in tokens)

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write what `TokenizerConfig.load` needs to an existing folder."""


def parts_words(token: bytes) -> bool:
    """Whether a token separates words: a byte that is no letter, no digit and not inside a UTF-8 character, or a special token.
    """
    return not (token.isalnum() or b"\x80" <= token <= b"\xbf")
