"""Bits per byte: the information of a text under the model. It can be compared across tokenizers.

It is total nats / (ln 2 x bytes of the text), summed in float64. Every byte of every document is scored exactly once; the first
one is predicted from BOS. BOS itself counts neither as nats nor as bytes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from stlm.data.shards import Shard
from stlm.data.stream import Stream
from stlm.model.lm import LM
from stlm.model.room import from_tokens
from stlm.model.scores import check_finite
from stlm.text.tokenizer import Tokenizer
from stlm.train.device import in_double


@dataclasses.dataclass(frozen=True)
class Score:
    """bits: bits of the scored text. n_bytes: its bytes. seq_len: tokens in a window. context: the least number of tokens
    before a scored token in its window; only at the start of the text there are fewer. patches: number of patches of the text.
    """

    bits: float
    n_bytes: int
    seq_len: int
    context: int
    patches: int

    @property
    def protocol(self) -> dict[str, int]:
        """How the bits were measured: tokens in a window, tokens by which windows overlap, bytes of text."""
        return {"seq_len": self.seq_len, "overlap": self.context, "bytes": self.n_bytes}

    @property
    def bits_per_byte(self) -> float:
        return self.bits / self.n_bytes

    @property
    def bytes_per_patch(self) -> float:
        return self.n_bytes / max(1, self.patches)


@torch.no_grad()
def score(model: LM, shard: Shard, tokenizer: Tokenizer, seq_len: int, batch_size: int, context: int = 0,
          limit: int | None = None, progress: Callable[[float], None] = lambda share: None) -> Score:
    """Score a text in windows of ``seq_len`` tokens that overlap by ``context``.

    limit: score only about this many first bytes. progress: is called with the share that is done.
    """
    if not 0 <= context < seq_len:
        raise ValueError(f"context = {context} has to be at least 0 and below seq_len = {seq_len}")
    stream = Stream(shard, tokenizer, seq_len, batch_size, seed=None, stride=seq_len - context,
                    from_tokens=from_tokens(model))
    batches = stream.epoch_batches
    if limit is not None:
        tokens = limit * len(shard.tokens) / shard.n_bytes
        batches = min(batches, max(1, math.ceil(tokens / (batch_size * stream.stride))))
    nats, n_bytes, patches = torch.zeros((), dtype=torch.float64), 0, 0
    for number in range(batches):
        batch = stream.batch(number)
        moved = batch.to(model.device)
        output = model(moved)
        nats += in_double(output.scores.surprisal(moved.targets) * moved.scored).sum().cpu()
        n_bytes += int(batch.total_bytes)
        patches += int((output.ends & moved.counted).sum())
        progress((number + 1) / batches)
    return Score(float(check_finite(nats[None])) / math.log(2), n_bytes, seq_len, context, patches)
