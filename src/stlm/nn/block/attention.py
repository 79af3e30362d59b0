"""Attention over a look-back window, then a feed-forward layer (Vaswani et al. 2017, arXiv 1706.03762; the window as in
Beltagy et al. 2020, arXiv 2004.05150).
"""

from __future__ import annotations

import dataclasses

from stlm.nn.attention import AttentionBlock
from stlm.nn.block import BlockConfig
from stlm.nn.ffn import FeedForwardConfig, relu2


@dataclasses.dataclass(frozen=True)
class Config(BlockConfig):
    """Attention over the last ``window`` positions, then a feed-forward layer."""

    heads: int = 4
    """Attention heads."""
    kv_heads: int | None = None
    """Heads of keys and values; fewer than heads makes groups share them. As many as heads where None."""
    window: int = 2048
    """How many positions a position sees, itself included."""
    ffn: FeedForwardConfig = relu2.Config()
    """The feed-forward layer."""
    qk_norm: bool = True
    """Whether queries and keys are scaled to unit norm."""
    rope_base: float = 10000.0
    """Base of the rotary positions."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.window < 1:
            raise ValueError("heads and window have to be 1 or more")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise ValueError(f"kv_heads = {self.kv_heads} has to divide heads = {self.heads}")

    def check(self, dim: int) -> None:
        if dim % self.heads or (dim // self.heads) % 2:
            raise ValueError(f"dim = {dim} cannot be split into heads = {self.heads} of an even width")

    def build(self, dim: int) -> AttentionBlock:
        return AttentionBlock(dim, self.heads, self.kv_heads or self.heads, self.window, self.ffn, self.qk_norm,
                              self.rope_base)
