"""The input table is also the output table (Press and Wolf 2017, arXiv 1608.05859)."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stlm.model.head import Head, HeadConfig


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """The input table also gives the scores."""

    def build(self, dim: int, vocab_size: int) -> Tied:
        return Tied(dim)


class Tied(Head):
    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        return F.linear(hidden, table)
