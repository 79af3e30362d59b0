"""A second table for the output."""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from stlm.config.bounds import Weight
from stlm.model.head import Head, HeadConfig, capped
from stlm.nn.weights import Role, linear


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """A second table gives the scores."""

    softcap: Weight = 0.0
    """Keep logits between minus and plus this number, smoothly. 0: no limit."""

    def build(self, dim: int, vocab_size: int) -> Untied:
        return Untied(dim, vocab_size, self.softcap)


class Untied(Head):
    def __init__(self, dim: int, vocab_size: int, softcap: float) -> None:
        super().__init__(dim)
        self.softcap = softcap
        self.table = linear(dim, vocab_size, zero=True, role=Role.TABLE)

    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        return capped(self.table(hidden), self.softcap)
