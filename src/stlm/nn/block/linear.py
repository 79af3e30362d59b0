"""Gated linear attention, then a feed-forward layer. Each head has a state of fixed size instead of past keys and values.

``S_t = a_t S_{t-1} + k_t v_t^T`` and ``y_t = q_t S_t``. The factor ``a_t`` lies between 0 and 1, depends on the input, and says
how much of the state a head keeps. This is the recurrence of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060), with the gated output
of gated linear attention (Yang et al. 2023, arXiv 2312.06635). Rows are computed in chunks. Within a chunk it is masked
attention. Between chunks the states are passed on, in a number of steps that grows with the logarithm of the number of chunks.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Size
from stlm.nn.block import BlockConfig, check_multiple
from stlm.nn.ffn import FeedForwardConfig, relu2
from stlm.nn.memory import KV
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.recurrence import recurrence
from stlm.nn.stack import NOTHING, Block
from stlm.nn.weights import linear


@dataclasses.dataclass(frozen=True)
class Config(BlockConfig):
    """Linear attention whose heads learn what to forget, then a feed-forward layer."""

    heads: Size = 4
    """Number of heads, each with its own memory."""
    key_dim: Size = 32
    """Width of a head's keys: its memory has this many rows."""
    chunk: Size = 64
    """Number of positions computed together. It changes the speed, not the result."""
    ffn: FeedForwardConfig = relu2.Config()
    """The feed-forward layer."""

    def check(self, dim: int) -> None:
        check_multiple(dim, self.heads, self.heads)

    def build(self, dim: int) -> LinearBlock:
        return LinearBlock(dim, self)


@dataclasses.dataclass
class Context:
    """Segment ids of the positions, and of the position before them (`NOTHING` if there is none)."""

    segment_ids: Int[Tensor, "batch seq"]
    before: Int[Tensor, "batch 1"]


class LinearBlock(Block[Context]):
    lookback = 1

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.heads, self.key_dim, self.value_dim, self.chunk = config.heads, config.key_dim, dim // config.heads, config.chunk
        self.norm = RMSNorm(dim)
        self.qk = linear(dim, 2 * self.heads * self.key_dim)
        self.value_gate = linear(dim, 2 * dim)
        self.forget = linear(dim, self.heads, zero=True)
        # at the start, states decay over 4 to 512 positions, depending on the head
        self.rate = nn.Parameter(torch.linspace(2.0, 9.0, self.heads) * -math.log(2.0))
        self.out = linear(dim, dim, zero=True)
        self.ffn_norm, self.ffn = RMSNorm(dim), config.ffn.build(dim)

    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"], dtype: torch.dtype
                ) -> Context:
        seq = positions.shape[1]
        before = segment_ids[:, :-seq][:, -1:] if segment_ids.shape[1] > seq else torch.full_like(segment_ids[:, :1], NOTHING)
        return Context(segment_ids[:, -seq:], before)

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Context, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        y = self.norm(x)
        q, k = self.qk(y).unflatten(-1, (2, self.heads, self.key_dim)).unbind(-3)
        value, gate = self.value_gate(y).chunk(2, dim=-1)
        v = value.unflatten(-1, (self.heads, self.value_dim))
        q, k, log_a = rms_norm(q), rms_norm(k) * self.key_dim**-0.5, self._log_a(y)
        state = None if past is None else past[0]
        mixed = scan(q, k, v, log_a, context.segment_ids, context.before, state, self.chunk)
        mixed = rms_norm(mixed).flatten(-2).to(x.dtype) * F.silu(gate)
        x = x + self.out(mixed)
        return x + self.ffn(self.ffn_norm(x)), (k, v, log_a, context.segment_ids, context.before)

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Context, past: KV | None) -> KV:
        y, keys, dim = self.norm(x), self.heads * self.key_dim, x.shape[2]
        k = F.linear(y, self.qk.matrix(slice(keys, None))).unflatten(-1, (self.heads, self.key_dim))
        v = F.linear(y, self.value_gate.matrix(slice(dim))).unflatten(-1, (self.heads, self.value_dim))
        return rms_norm(k) * self.key_dim**-0.5, v, self._log_a(y), context.segment_ids, context.before

    def _log_a(self, y: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq heads"]:
        """``log a_t = -softplus(.)``, in at least float32, because many factors near one are multiplied."""
        wide = torch.promote_types(y.dtype, torch.float32)
        return -F.softplus(self.forget(y).to(wide) + self.rate.to(wide))

    def update_cache(self, past: KV | None, new: KV, lengths: Int[Tensor, " batch"] | None
                 ) -> KV:
        """The state after the last position of each row that isn't padding. It covers that position's document only."""
        k, v, log_a, segment_ids, before = new
        batch, seq = segment_ids.shape
        count = torch.full((batch,), seq, device=k.device) if lengths is None else lengths
        counts = torch.arange(seq, device=k.device) < count[:, None]
        last = torch.cat([before, segment_ids], dim=1).gather(1, count[:, None])
        decay = log_a.masked_fill(~counts[..., None], 0)
        later = decay.flip(1).cumsum(1).flip(1) - decay  # for each position, the sum over the positions after it
        weight = later.exp().masked_fill(~(counts & (segment_ids == last))[..., None], 0)
        state = torch.einsum("bsh,bshk,bshv->bhkv", weight, k.to(weight.dtype), v.to(weight.dtype))
        if past is not None:
            kept = decay.sum(dim=1).exp().masked_fill(before != last, 0)
            state = state + kept[..., None, None] * past[0]
        return (state,)


def scan(q: Float[Tensor, "batch seq heads key"], k: Float[Tensor, "batch seq heads key"],
         v: Float[Tensor, "batch seq heads value"], log_a: Float[Tensor, "batch seq heads"],
         segment_ids: Int[Tensor, "batch seq"], before: Int[Tensor, "batch 1"],
         state: Float[Tensor, "batch heads key value"] | None, chunk: int) -> Float[Tensor, "batch seq heads value"]:
    """``y_t = sum over s <= t of the same document of exp(log a_{s+1} + ... + log a_t) (q_t . k_s) v_s``.

    state, before: the state after earlier positions, and the segment id that it belongs to.
    """
    (batch, seq, heads, key), size = q.shape, min(chunk, q.shape[1])
    n = -(-seq // size)
    pad = n * size - seq
    if state is None:
        state = q.new_zeros(batch, heads, key, v.shape[-1])
    # from here on [batch, heads, chunk, position, ...]
    q, k, v, log_a = (F.pad(item, (*[0, 0] * (item.dim() - 2), 0, pad)).unflatten(1, (n, size)).movedim(3, 1)
                      for item in (q, k, v, log_a))
    owner = F.pad(segment_ids, (0, pad), value=NOTHING).unflatten(1, (n, size))[:, None]
    total = log_a.cumsum(-1)
    index = torch.arange(size, device=q.device)
    causal = index[:, None] >= index[None, :]
    within = _decay(total, total, (owner[..., :, None] == owner[..., None, :]) & causal)
    # What each chunk adds to the state, for the document of its last position. The given state comes first, like a chunk's.
    to_end = _decay(total[..., -1:], total, (owner == owner[..., -1:])[..., None, :])[..., 0, :]
    states = torch.cat([state[:, :, None].to(v.dtype), (k * to_end[..., None].to(k.dtype)).mT @ v], dim=2)[:, :, :n]
    owners = torch.cat([before[:, None], owner[..., -1]], dim=2)[..., :n]
    # The state before chunk j: what chunk j - 1 added, and the state before that, if the document is the same.
    same = torch.cat([torch.zeros_like(owners[..., :1], dtype=torch.bool), owners[..., 1:] == owners[..., :-1]], dim=2)
    kept = F.pad(total[..., -1], (1, 0))[..., :n].exp().masked_fill(~same, 0)
    before_chunk = recurrence(kept.flatten(0, 1), states.flatten(0, 1)).view_as(states)
    from_start = total.exp().masked_fill(owner != owners[..., None], 0)
    y = ((q @ k.mT) * within.to(q.dtype)) @ v + (q * from_start[..., None].to(q.dtype)) @ before_chunk
    return y.movedim(1, 3).flatten(1, 2)[:, :seq]


def _decay(later: Float[Tensor, "batch heads *rows n"], earlier: Float[Tensor, "batch heads *rows m"],
           counts: Bool[Tensor, "batch 1 *rows n m"]) -> Float[Tensor, "batch heads *rows n m"]:
    """``exp(later_i - earlier_j)`` where ``counts`` is true, 0 elsewhere."""
    return (later[..., :, None] - earlier[..., None, :]).masked_fill(~counts, -torch.inf).exp()
