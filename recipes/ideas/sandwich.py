"""Norms before and after each half of a block (Ding et al. 2021, CogView, arXiv 2105.13290, section 2.4).

``--model.trunk recipes.ideas.sandwich``, from the folder that holds ``recipes``. Measured by recipes/pooling.py.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor, nn

from stlm.nn.block import attention
from stlm.nn.block.attention import AttentionBlock, Context
from stlm.nn.norm import RMSNorm


@dataclasses.dataclass(frozen=True)
class Config(attention.Config):
    """Attention and a feed-forward layer, each with a norm of what it adds."""

    def build(self, dim: int) -> Sandwich:
        return Sandwich(dim, self)


class Sandwich(AttentionBlock):
    def __init__(self, dim: int, config: Config) -> None:
        super().__init__(dim, config)
        self.attention_after, self.ffn_after = RMSNorm(dim), RMSNorm(dim)
        for norm, last in ((self.attention_after, self.attention.out), (self.ffn_after, self.ffn.down)):
            nn.init.zeros_(norm.gain)  # the block begins as the identity by its gains: a norm of zeros has no useful slope
            nn.init.normal_(last.weight, std=last.in_features**-0.5)  # type: ignore[arg-type, operator]

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Context, past: tuple[Tensor, ...] | None
                ) -> tuple[Float[Tensor, "batch seq dim"], tuple[Tensor, ...]]:
        mixed, new = self.attention(self.attention_norm(x), context, past)
        x = x + self.attention_after(mixed)
        return x + self.ffn_after(self.ffn(self.ffn_norm(x))), new
