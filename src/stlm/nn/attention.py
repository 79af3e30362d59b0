"""Causal attention with rotary positions, normalised queries and keys, grouped heads and a look-back window."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.nn.ffn import FeedForwardConfig
from stlm.nn.init import linear
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.rope import Rotation, rotate, rotation
from stlm.nn.stack import Block

SHORT = 512  # positions up to which attention written out is faster on CPUs than PyTorch's fused one (docs/log.md)


@dataclasses.dataclass
class View:
    """Who may look at whom (as a mask, and as what is added to scores), and how far queries and keys are turned."""

    allowed: Bool[Tensor, "batch 1 seq total"]
    bias: Float[Tensor, "batch 1 seq total"] | None
    rotation: Rotation


class Attention(nn.Module):
    """Multi-head attention; with fewer ``kv_heads`` than ``heads``, groups of heads share keys and values
    (Ainslie et al. 2023, arXiv 2305.13245). Queries and keys have unit norm (Dehghani et al. 2023, arXiv 2302.05442).
    """

    def __init__(self, dim: int, heads: int, kv_heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.qk_norm = heads, kv_heads, dim // heads, qk_norm
        self.qkv = linear(dim, (heads + 2 * kv_heads) * self.head_dim)
        self.out = linear(dim, dim, zero=True)

    def forward(self, x: Float[Tensor, "batch seq dim"], view: View, past: tuple[Tensor, ...] | None
                ) -> tuple[Float[Tensor, "batch seq dim"], tuple[Tensor, ...]]:
        batch, seq, dim = x.shape
        packed = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = packed.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if self.qk_norm:
            q, k = rms_norm(q), rms_norm(k)
        q, k = rotate(q, view.rotation), rotate(k, view.rotation)
        new = (k.transpose(1, 2), v.transpose(1, 2))
        if past is not None:
            k = torch.cat([past[0].transpose(1, 2), k], dim=2)
            v = torch.cat([past[1].transpose(1, 2), v], dim=2)
        if self.kv_heads < self.heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
            v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        if view.bias is not None:
            mixed = ((q * self.head_dim**-0.5) @ k.mT + view.bias).softmax(dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=view.allowed)
        return self.out(mixed.transpose(1, 2).reshape(batch, seq, dim)), new


    def noted(self, x: Float[Tensor, "batch seq dim"], view: View) -> tuple[Tensor, ...]:
        """Keys and values alone."""
        weight = self.qkv.weight[self.heads * self.head_dim:]
        k, v = F.linear(x, weight).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(2, dim=1)
        k = rotate(rms_norm(k) if self.qk_norm else k, view.rotation)
        return k.transpose(1, 2), v.transpose(1, 2)


class AttentionBlock(Block):
    """Attention, then a feed-forward layer, each behind a norm and added to what came in (pre-norm)."""

    def __init__(self, dim: int, heads: int, kv_heads: int, window: int, ffn: FeedForwardConfig,
                 qk_norm: bool, rope_base: float) -> None:
        super().__init__()
        self.lookback, self.rope_base = window - 1, rope_base
        self.attention_norm, self.attention = RMSNorm(dim), Attention(dim, heads, kv_heads, qk_norm)
        self.ffn_norm, self.ffn = RMSNorm(dim), ffn.build(dim)

    def view(self, documents: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"],
             dtype: torch.dtype) -> View:
        total, seq = documents.shape[1], positions.shape[1]
        place = torch.arange(total, device=documents.device)
        distance = place[total - seq:, None] - place[None, :]
        near = (distance >= 0) & (distance <= self.lookback)
        same = documents[:, total - seq:, None] == documents[:, None, :]
        allowed = (near & same)[:, None]
        bias = None
        if documents.device.type == "cpu" and total <= SHORT:
            bias = torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, -torch.inf)
        return View(allowed, bias, rotation(positions, self.attention.head_dim, self.rope_base, dtype))

    def forward(self, x: Float[Tensor, "batch seq dim"], view: View, past: tuple[Tensor, ...] | None
                ) -> tuple[Float[Tensor, "batch seq dim"], tuple[Tensor, ...]]:
        mixed, new = self.attention(self.attention_norm(x), view, past)
        x = x + mixed
        return x + self.ffn(self.ffn_norm(x)), new

    def noted(self, x: Float[Tensor, "batch seq dim"], view: View, past: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        return self.attention.noted(self.attention_norm(x), view)
