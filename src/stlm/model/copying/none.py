"""No copying: the scores are the head's logits."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.backbone import TrunkOutput
from stlm.model.copying import Copying, CopyingConfig
from stlm.model.scores import Scores
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(CopyingConfig):
    """No part of the model copies tokens."""

    copies = False

    def build(self, dim: int, tokenizer: Tokenizer) -> Nothing:
        return Nothing()


class Nothing(Copying):
    def forward(self, logits: Float[Tensor, "batch seq token"], hidden: Float[Tensor, "batch seq dim"], output: TrunkOutput,
                tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"], memory: Memory | None,
                lengths: Int[Tensor, " batch"] | None, n_pairs: int | None = None) -> Scores:
        return Scores(logits)
