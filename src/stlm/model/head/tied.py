"""The input table is also the output table (Press and Wolf 2017, arXiv 1608.05859)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stlm.config.bounds import Weight
from stlm.model.head import Head, HeadConfig, capped


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """The input table also gives the scores."""

    softcap: Weight = 0.0
    """Keep logits between minus and plus this number, smoothly. 0: no limit."""

    def build(self, dim: int, vocab_size: int) -> Tied:
        return Tied(dim, self.softcap)


class Tied(Head):
    def __init__(self, dim: int, softcap: float) -> None:
        super().__init__(dim)
        self.softcap = softcap

    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        return capped(F.linear(hidden, table), self.softcap)
