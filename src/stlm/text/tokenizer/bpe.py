"""Byte-pair encoding, trained on the user's own text. It is the control that byte models are compared with.

Sennrich et al. 2016 (arXiv 1508.07909) over bytes, as in GPT-2, by Hugging Face `tokenizers`. It is lossless for every byte
string, also for bytes that aren't UTF-8: a fixed one-to-one map turns each byte into a printable character.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from stlm.config.bounds import Megabytes, Range
from stlm.errors import UserError
from stlm.text.tokenizer import Tokenizer, TokenizerConfig

FILE = "tokenizer.json"
LONGEST = 256  # bytes of a word that is learned from; the cost of a word grows with the square of its length
PIECE = 1 << 18  # bytes that are encoded at once, because the memory of one call grows with the length
# GPT-2's pre-tokenizer, written for text whose bytes were mapped to printable characters one by one (Latin-1 view):
# contractions and words with their leading space, numbers, runs of signs, spaces. Bytes above 127 count as letters, so
# that words in every script stay together; Oniguruma needs them in braces. Longer pieces are cut.
_PIECES = (r"'(?:[sdmt]|ll|ve|re)| ?[L]{1,N}| ?[0-9]{1,N}| ?[^\sL0-9]{1,N}|\s{1,N}(?!\S)|\s{1,N}"
           .replace("L", r"A-Za-z\x{80}-\x{ff}").replace("N", str(LONGEST)))


@dataclasses.dataclass(frozen=True)
class Config(TokenizerConfig):
    """Byte-pair encoding, learned from the run's own text."""

    bytes_per_token: ClassVar[int] = 4
    vocab_size: Annotated[int, Range(258, 2**20)] = 4096
    """Number of tokens: 256 bytes, the learned merges and one special token."""
    sample_megabytes: Megabytes = 20.0
    """Millions of bytes of training text to learn from."""

    def build(self, sample: Iterable[bytes]) -> BpeTokenizer:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

        merges = Tokenizer(models.BPE())
        merges.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size - 1, show_progress=False, initial_alphabet=[chr(b) for b in range(256)])
        merges.train_from_iterator(_within(sample, int(self.sample_megabytes * 1e6)), trainer)
        return BpeTokenizer(merges.to_str())

    def outline(self) -> Tokenizer:
        return Outline(self.vocab_size)

    def load(self, folder: Path) -> BpeTokenizer:
        try:
            return BpeTokenizer((folder / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{folder / FILE}: there is no such file; a BPE model needs it beside its weights") from None
        except Exception as error:  # tokenizers raises bare Exception for a damaged file
            raise UserError(f"{folder / FILE}: not a tokenizer file: {error}") from None


def _within(sample: Iterable[bytes], budget: int) -> Iterator[str]:
    for document in sample:
        if budget <= 0:
            return
        yield from (piece.decode("latin-1") for piece in cut(document[:budget]))
        budget -= len(document)


class BpeTokenizer(Tokenizer):
    """Tokens of a trained tokenizer. The last token is BOS.

    Inside, every byte becomes the character of the same number (Latin-1), so that the tokenizer never gets invalid text.
    """

    def __init__(self, serialized: str) -> None:
        from tokenizers import Tokenizer

        self._serialized = serialized
        self._merges = Tokenizer.from_str(serialized)
        vocabulary = self._merges.get_vocab()
        ordered = sorted(vocabulary, key=vocabulary.__getitem__)
        self.token_bytes = [*(piece.encode("latin-1") for piece in ordered), b""]
        self.bos = len(ordered)

    def encode(self, data: bytes) -> np.ndarray:
        pieces = (self._merges.encode(piece.decode("latin-1")) for piece in cut(data))
        return np.concatenate([np.array(piece.ids, dtype=self.dtype) for piece in pieces])

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(self._serialized, encoding="utf-8")


def cut(data: bytes, size: int = PIECE) -> Iterator[bytes]:
    """Cut a text before spaces that follow a letter: boundaries of `_PIECES`, so that the tokens don't change."""
    start = 0
    while len(data) - start > size:
        end = data.rfind(b" ", start + 2, start + size + 1)
        while end >= 0 and not data[end - 1:end].isalpha():
            end = data.rfind(b" ", start + 2, end)
        end = end if end >= 0 else start + size
        yield data[start:end]
        start = end
    yield data[start:]


class Outline(Tokenizer):
    """A tokenizer of a given vocab_size that has learned nothing."""

    def __init__(self, vocabulary: int) -> None:
        self.token_bytes = [bytes([b]) for b in range(256)] + [b"??"] * (vocabulary - 257) + [b""]
        self.bos = vocabulary - 1

    def encode(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data, dtype=np.uint8)

    def save(self, folder: Path) -> None:
        """Write nothing: this tokenizer has learned nothing."""
