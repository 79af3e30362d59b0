"""Several future tokens at once, in training (Gloeckle et al. 2024, arXiv 2404.19737).

Beside the next token, a small layer for each predicts those after it; what they have to know makes the shared vectors look
further ahead. The likelihood is that of the next token alone, and writing and scoring leave the others out.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.model.head import Head, HeadConfig
from stlm.nn.init import linear
from stlm.nn.norm import RMSNorm


@dataclasses.dataclass(frozen=True)
class Config(HeadConfig):
    """The input table gives the scores. In training, some later tokens are predicted too."""

    further: int = 3
    """Number of tokens after the next one that training predicts too."""

    def __post_init__(self) -> None:
        if self.further < 1:
            raise ValueError("further has to be 1 or more")

    def build(self, dim: int, vocab_size: int) -> MultiByte:
        return MultiByte(dim, self.further)


class MultiByte(Head):
    def __init__(self, dim: int, further: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(linear(dim, dim, zero=True) for _ in range(further))
        self.norm = RMSNorm(dim)

    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        return F.linear(hidden, table)

    def ahead(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
              ) -> Float[Tensor, "batch seq n token"]:
        moved = torch.stack([hidden + step(hidden) for step in self.steps], dim=2)
        return F.linear(self.norm(moved), table)
