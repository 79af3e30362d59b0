"""Each patch is one token of a byte-pair encoding, as in the paper behind this project (arXiv 2405.14159, section 3.1).

Where such a token ends depends on the text after it. So the tokenizer ``subword`` inserts a mark between tokens. The model
predicts the mark like any other token, and its bits are counted.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from stlm.errors import UserError
from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """A patch ends at each mark of the tokenizer. Needs the tokenizer subword."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Subword:
        if tokenizer.mark is None:
            raise UserError("model.patching: subword needs the tokenizer subword (--data.tokenizer subword)")
        return Subword(tokenizer.mark)


class Subword(Patching):
    def __init__(self, mark: int) -> None:
        super().__init__()
        self.mark = mark

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Memory | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        return Boundaries((tokens == self.mark) | (positions == 0))
