"""The input table is also the output table, until late in training (GPT-2 speed runs, 2026).

Then the output table is a copy of the input table, and both are trained apart. One table learns faster; two can differ in the
end. Before, the copy follows the input table; it is stored from the start.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Share, Weight
from stlm.model.head import Head, HeadConfig, capped
from stlm.nn.sharded import locals_of
from stlm.nn.weights import Role, Successors


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """The input table gives the scores until late in training, then a table of its own."""

    at: Share = 0.67
    """The share of training after which the tables are apart."""
    softcap: Weight = 0.0
    """Keep logits between minus and plus this number, smoothly. 0: no limit."""

    def build(self, dim: int, vocab_size: int) -> Late:
        return Late(dim, vocab_size, self)


class Late(Head):
    apart: Tensor

    def __init__(self, dim: int, vocab_size: int, config: Config) -> None:
        super().__init__(dim)
        self.at, self.softcap, self.roles = config.at, config.softcap, {"table": Role.TABLE}
        self.table = nn.Parameter(torch.zeros(vocab_size, dim))
        # a tensor, because compiled code is compiled anew when a number in Python changes; it is saved, so that a run that goes
        # on doesn't copy again
        self.register_buffer("apart", torch.tensor(False))
        self._before = 0.0

    @torch.no_grad()
    def set_progress(self, progress: float, table: nn.Parameter) -> Successors:
        own, other = locals_of([self.table, table])
        own.copy_(torch.where(self.apart, own, other))  # if they weren't apart until now
        new = self._before < self.at <= progress and not bool(self.apart)  # a GPU is asked only once
        self._before = progress
        if progress >= self.at:
            self.apart.fill_(True)  # for good, also where a finished run is made longer
        return {self.table: table} if new else {}

    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        own = torch.where(self.apart, self.table.to(table.dtype), table)
        return capped(F.linear(hidden, own), self.softcap)
