"""Causal attention over a sliding window, then a feed-forward layer (Vaswani et al. 2017, arXiv 1706.03762).

The window is that of Beltagy et al. 2020 (arXiv 2004.05150). Positions are rotary, queries and keys are normalised, and heads
may share keys and values.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Range, Share, Size
from stlm.nn.block import BlockConfig, check_multiple
from stlm.nn.ffn import FeedForwardConfig, relu2
from stlm.nn.memory import KV
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.rope import Rotation, rotate, rotation
from stlm.nn.stack import NOTHING, Block
from stlm.nn.weights import Role, linear

SHORT = 512  # up to so many positions, explicit attention is faster on CPUs than PyTorch's fused kernel (docs/log.md)
GATED = 12  # numbers of a position that the gates of its heads read
NARROW = 8  # the smallest block size of banded attention, which is used where the window is far shorter than the row


@dataclasses.dataclass(frozen=True)
class Config(BlockConfig):
    """Attention over the last ``window`` positions, then a feed-forward layer."""

    has_values = True
    heads: Size = 4
    """Number of attention heads. Each has an even width, so the layer's width is a multiple of twice this number."""
    kv_heads: Size | None = None
    """Number of key and value heads, which groups of heads share (grouped-query attention). Not set: as many as `heads`."""
    window: Size = 2048
    """Number of positions that a position sees, itself included."""
    ffn: FeedForwardConfig = relu2.Config()
    """The feed-forward layer."""
    qk_norm: bool = True
    """Scale queries and keys to unit norm."""
    rope_base: Annotated[float, Range(1, 10**12)] = 10000.0
    """Base of the rotary position encoding."""
    rope_share: Share = 1.0
    """Share of each head's numbers that are rotated by their position. The others don't know positions."""
    gates: bool = False
    """Each head has a gate, which reads a few numbers of its position and scales what the head found."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} has to be a multiple of kv_heads = {self.kv_heads}")

    def check(self, dim: int) -> None:
        check_multiple(dim, 2 * self.heads, self.heads)  # rotary positions rotate pairs of numbers

    def build(self, dim: int) -> AttentionBlock:
        return AttentionBlock(dim, self)


@dataclasses.dataclass
class Context:
    """What depends on positions only, for all attention blocks of a stack.

    allowed: the mask of the positions that a position sees. bias: the same mask as numbers that are added to scores; None where
    the fused kernel is used. rotation: of queries and keys. band: if above 0, rows are split into blocks of so many positions,
    and a position sees only its own block and the block before it. Masks then have the shape [batch, 1, block, band, 2 band]
    instead of [batch, 1, seq, total]. values: added to the values of these positions.
    """

    allowed: Bool[Tensor, "batch 1 *seq total"]
    bias: Float[Tensor, "batch 1 *seq total"] | None
    rotation: Rotation
    band: int = 0
    values: Float[Tensor, "batch seq values"] | None = None


class Attention(nn.Module):
    """Multi-head attention. With fewer ``kv_heads`` than ``heads``, groups of heads share keys and values (Ainslie et al. 2023,
    arXiv 2305.13245). With ``qk_norm``, queries and keys have unit norm (Dehghani et al. 2023, arXiv 2302.05442). With
    ``gates``, each head's output is scaled by a number from 0 to 2, 1 at the start (Qiu et al. 2025, arXiv 2505.06708; a gate
    reads `GATED` numbers, as in the GPT-2 speed runs of 2025).
    """

    def __init__(self, dim: int, heads: int, kv_heads: int, qk_norm: bool, gates: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.qk_norm = heads, kv_heads, dim // heads, qk_norm
        self.qkv = linear(dim, (heads + 2 * kv_heads) * self.head_dim)
        self.out = linear(dim, dim, zero=True)
        self.gate = linear(min(GATED, dim), heads, zero=True, role=Role.VECTOR) if gates else None  # fixed inputs
        self.weights_dropout: nn.Module | None = None  # in training; without, nothing is dropped

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Context, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        batch, seq, dim = x.shape
        packed = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = packed.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if self.qk_norm:
            q, k = rms_norm(q), rms_norm(k)
        if context.values is not None:
            v = v + context.values.unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)
        q, k = rotate(q, context.rotation), rotate(k, context.rotation)
        new = (k.transpose(1, 2), v.transpose(1, 2))
        if past is not None:
            # joined before the transpose: positions stay contiguous in memory
            k, v = (torch.cat(both, dim=1).transpose(1, 2) for both in zip(past, new, strict=True))
        if self.kv_heads < self.heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
            v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        if context.band:
            q, k, v = (_blocks(part, context.band) for part in (q, k, v))
            k, v = _with_previous(k), _with_previous(v)
        bias, dropout = context.bias, self.weights_dropout if self.training else None
        if bias is None and dropout is not None:
            bias = torch.zeros_like(context.allowed, dtype=q.dtype).masked_fill(~context.allowed, -torch.inf)
        if bias is not None:
            weights = ((q * self.head_dim**-0.5) @ k.mT + bias).softmax(dim=-1)
            mixed = (weights if dropout is None else dropout(weights)) @ v
            if context.band:
                mixed = mixed.flatten(2, 3)[:, :, :seq]
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=context.allowed)
        mixed = mixed.transpose(1, 2)
        if self.gate is not None:
            mixed = mixed * (2 * self.gate(x[..., :self.gate.in_features]).sigmoid())[..., None]
        return self.out(mixed.reshape(batch, seq, dim)), new

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Context) -> KV:
        """The keys and values, without the output."""
        weight = self.qkv.matrix(slice(self.heads * self.head_dim, None))
        k, v = F.linear(x, weight).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(2, dim=1)
        k = rotate(rms_norm(k) if self.qk_norm else k, context.rotation)
        return k.transpose(1, 2), v.transpose(1, 2)


class AttentionBlock(Block[Context]):
    """Attention, then a feed-forward layer. Each reads the normalised input and adds its output to it (pre-norm)."""

    supports_bidirectional = True

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.lookback, self.rope_base = config.window - 1, config.rope_base
        self.attention_norm = RMSNorm(dim)
        self.attention = Attention(dim, config.heads, config.kv_heads or config.heads, config.qk_norm, config.gates)
        self.value_width = self.attention.kv_heads * self.attention.head_dim
        self.rotated = 2 * round(config.rope_share * self.attention.head_dim / 2)  # numbers of each head
        self.ffn_norm, self.ffn = RMSNorm(dim), config.ffn.build(dim)

    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"], dtype: torch.dtype
                ) -> Context:
        total, seq = segment_ids.shape[1], positions.shape[1]
        rope = rotation(positions, self.rotated, self.rope_base, dtype)
        band = max(self.lookback + 1, NARROW)
        if total == seq >= 4 * band:
            own = _blocks(segment_ids[:, None, :, None], band, NOTHING)[:, 0, ..., 0]
            seen = torch.cat([F.pad(own[:, :-1], (0, 0, 1, 0), value=NOTHING - 1), own], dim=2)
            index = torch.arange(2 * band, device=segment_ids.device)
            distance = index[band:, None] - index[None, :]
            near = (distance >= 0) & (distance <= self.lookback)
            allowed = ((own[..., None] == seen[:, :, None]) & near)[:, None]
            return Context(allowed, torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, -torch.inf), rope, band)
        index = torch.arange(total, device=segment_ids.device)
        distance = index[total - seq:, None] - index[None, :]
        return self._masked((distance >= 0) & (distance <= self.lookback), segment_ids, rope, dtype)

    def bidirectional_context(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                              dtype: torch.dtype, rows: Bool[Tensor, " batch"]) -> Context:
        index = torch.arange(segment_ids.shape[1], device=segment_ids.device)
        distance = index[:, None] - index[None, :]
        near = (distance.abs() <= self.lookback) & ((distance >= 0) | rows[:, None, None])
        return self._masked(near, segment_ids, rotation(positions, self.rotated, self.rope_base, dtype), dtype)

    def _masked(self, near: Bool[Tensor, "*batch seq total"], segment_ids: Int[Tensor, "batch total"], rope: Rotation,
                dtype: torch.dtype) -> Context:
        """The context in which a position sees those that are ``near`` and in the same document."""
        seq, total = near.shape[-2:]
        allowed = (near & (segment_ids[:, total - seq:, None] == segment_ids[:, None, :]))[:, None]
        bias = None
        if segment_ids.device.type == "cpu" and total <= SHORT:
            bias = torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, -torch.inf)
        return Context(allowed, bias, rope)

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Context, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        mixed, new = self.attention(self.attention_norm(x), context, past)
        x = x + mixed
        return x + self.ffn(self.ffn_norm(x)), new

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Context, past: KV | None) -> KV:
        return self.attention.kv_only(self.attention_norm(x), context)


def _blocks(x: Shaped[Tensor, "batch heads seq dim"], size: int, value: int = 0
            ) -> Shaped[Tensor, "batch heads block size dim"]:
    """Rows split into blocks of ``size`` positions. The last block is filled up with ``value``."""
    n = -(-x.shape[2] // size)
    return F.pad(x, (0, 0, 0, n * size - x.shape[2]), value=value).unflatten(2, (n, size))


def _with_previous(x: Float[Tensor, "batch heads block size dim"]) -> Float[Tensor, "batch heads block twice dim"]:
    """Each block with the previous block before it. The first block has zeros before it."""
    return torch.cat([F.pad(x[:, :, :-1], (0, 0, 0, 0, 1, 0)), x], dim=3)
