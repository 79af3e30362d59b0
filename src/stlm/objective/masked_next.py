"""Masked next-token prediction beside causal prediction (GPT-BERT, Charpentier and Samuel 2024, arXiv 2410.24159).

In some rows, spans of tokens are hidden, and only the hidden tokens are predicted, each from the place before it, as in causal
rows. Where parts of the model can, these rows are read in both directions. So one model learns both, and is used causally.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np

from stlm.config.bounds import Range, Share
from stlm.model.model_config import ModelConfig
from stlm.objective.some_rows import Row, SomeRows, SomeRowsConfig, check_spans, spans
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(SomeRowsConfig):
    """Cross-entropy of the next token, and in some rows only of tokens that are hidden."""

    ratio: Share = 0.0625
    """Share of the rows in which tokens are hidden, at the start."""
    hidden: Annotated[float, Range(0.01, 0.9)] = 0.2
    """Share of the tokens that are hidden in these rows."""
    span: Annotated[float, Range(1, 256)] = 6.0
    """Mean length of a hidden span, in tokens."""
    two_way: bool = True
    """Read these rows in both directions, in the parts of the model that can."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_spans(self.hidden, self.span, "hidden and span")

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> MaskedNext:
        return MaskedNext(self, tokenizer)


class MaskedNext(SomeRows):
    def __init__(self, config: Config, tokenizer: Tokenizer) -> None:
        super().__init__(config, tokenizer)
        self.share, self.mean, self.two_way = config.hidden, config.span, config.two_way

    def changed(self, tokens: np.ndarray, counted: np.ndarray, draw: np.random.Generator) -> Row:
        """The row with some of its inputs hidden. The weights of the hidden ones add up to those of a row that isn't changed.
        """
        n = len(counted)
        hide = np.zeros(n, dtype=bool)  # of the inputs 1 to n - 1, which are the targets 0 to n - 2
        for start, end in spans(n - 1, self.share, self.mean, draw):
            hide[start:end] = True
        hide[:-1] &= counted[:-1] & (tokens[1:-1] != self.bos)
        inputs = np.where(np.append(False, hide[:-1]), self.hidden, tokens[:-1])
        return Row(inputs, tokens[1:], hide * np.float32(counted.sum() / max(1, hide.sum())))
