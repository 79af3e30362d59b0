"""A tokenizer that was learned before, in the place of one that a text would teach anew."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

from stlm.text.tokenizer import Tokenizer, TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Known(TokenizerConfig):
    """The description ``config`` with the tokenizer that was learned by it. digest: a hash of its tokens."""

    config: TokenizerConfig
    digest: str
    tokenizer: dataclasses.InitVar[Tokenizer]

    def __post_init__(self, tokenizer: Tokenizer) -> None:
        object.__setattr__(self, "_tokenizer", tokenizer)

    def build(self, sample: Iterable[bytes]) -> Tokenizer:
        return self._tokenizer  # type: ignore[attr-defined, no-any-return]

    def outline(self) -> Tokenizer:
        return self.config.outline()

    def load(self, folder: Path) -> Tokenizer:
        return self.config.load(folder)


def known(config: TokenizerConfig, tokenizer: Tokenizer) -> TokenizerConfig:
    """The description of ``tokenizer``, from which `build` makes just that one. It is ``config`` if that learns nothing."""
    if config.outline().token_bytes == tokenizer.token_bytes:
        return config
    digest = hashlib.sha256(b"".join(b"%d:%s" % (len(token), token) for token in tokenizer.token_bytes)).hexdigest()
    return Known(config, digest, tokenizer)
