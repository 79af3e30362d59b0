"""Sliding-window attention as a local block (Beltagy et al. 2020, arXiv 2004.05150)."""

from __future__ import annotations

import dataclasses

from stlm.nn.attention import AttentionBlock, check_heads
from stlm.nn.ffn import FeedForwardConfig, relu2
from stlm.nn.local import LocalConfig


@dataclasses.dataclass(frozen=True)
class Config(LocalConfig):
    """Attention over the last few bytes, then a feed-forward layer."""

    heads: int = 4
    """Attention heads."""
    window: int = 32
    """How many bytes a byte sees, itself included."""
    ffn: FeedForwardConfig = relu2.Config(ratio=2.0)
    """The feed-forward layer."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError("window has to be 1 or more")

    def build(self, dim: int) -> AttentionBlock:
        check_heads(dim, self.heads, self.heads)
        return AttentionBlock(dim, self.heads, self.heads, self.window, self.ffn)
