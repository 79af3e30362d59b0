"""A pointer to earlier words: what followed there may follow here.

Wherever a word has begun with the same symbols as the one in progress (none, at its start), the symbol that came next
is evidence for the same symbol now. Words are parted by space-like bytes and by the ends of patches. How much it counts
is a score: the trunk's answer here, as a query, times the answer that was heard there, as a key. Two answers are alike
where the same kind of word was due, so an equal place is found by what the trunk predicts anyway, and nothing has to be
learned in two steps, as attention that copies has to be. Evidence adds to the head's odds: p(c) is in proportion to
exp(logit of c) + the sum of exp(score) over the places where c followed.

It mixes a pointer with a softmax as the pointer sentinel does (Merity et al. 2017, arXiv 1609.07843), is a cache of
hidden states as Grave et al. 2017 (arXiv 1612.04426) have it, and adds that bytes have to agree since the word began.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.model.copying import Copying, CopyingConfig
from stlm.model.hashing import BASE, INVERSE
from stlm.model.layout import Answers, take
from stlm.nn.init import linear
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.stack import NOTHING, remember
from stlm.text.codec import Codec, parts_words

FEW = 4  # symbols up to which comparing with all earlier ones is faster than sorting


@dataclasses.dataclass(frozen=True)
class Config(CopyingConfig):
    """Each earlier word that begins as this one adds to the odds of the symbol that followed."""

    dim: int = 64
    """Width of queries and keys."""
    window: int = 2048
    """How far back words are looked for, in symbols."""

    def __post_init__(self) -> None:
        if self.dim < 1 or self.window < 1:
            raise ValueError("dim and window have to be 1 or more")

    def build(self, dim: int, codec: Codec) -> Pointer:
        return Pointer(dim, codec, self)


@dataclasses.dataclass
class Memory:
    """Of the last symbols, right-aligned: they themselves, their documents, hashes of their words, and keys."""

    symbols: Int[Tensor, "batch past"]
    documents: Int[Tensor, "batch past"]
    words: Int[Tensor, "batch past"]
    keys: Float[Tensor, "batch past dim"]


class Pointer(Copying):
    space_like: Tensor

    def __init__(self, dim: int, codec: Codec, config: Config) -> None:
        super().__init__()
        self.register_buffer("space_like", torch.tensor([parts_words(symbol) for symbol in codec.symbol_bytes]),
                             persistent=False)
        self.window = config.window
        self.norm, self.query_key = RMSNorm(dim), linear(dim, 2 * config.dim)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.gate, self.bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.tensor(-1.0))

    def new_memory(self, batch: int, device: torch.device) -> Memory:
        nothing = torch.zeros(batch, 0, dtype=torch.long, device=device)
        return Memory(nothing, nothing, nothing, torch.zeros(batch, 0, self.query_key.out_features // 2, device=device,
                                                             dtype=self.query_key.weight.dtype))

    def forward(self, logits: Float[Tensor, "batch seq symbol"], hidden: Float[Tensor, "batch seq dim"], answers: Answers,
                symbols: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"], memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq symbol"]:
        query, key = self.query_key(self.norm(answers.states)).chunk(2, dim=-1)
        query, key = rms_norm(query) * (self.sharpness / query.shape[-1]), rms_norm(key)
        heard, key_heard = answers.index, answers.index
        words = words_so_far(symbols, answers.ends | self.space_like[symbols], None if memory is None else memory.words)
        if memory is not None:
            past = memory.symbols.shape[1]
            own = torch.arange(past, device=heard.device).expand(len(heard), -1)
            earlier, keys = dataclasses.replace(memory), take(key, heard)
            memory.symbols = remember(earlier.symbols, symbols, self.window, lengths)
            memory.documents = remember(earlier.documents, documents, self.window, lengths, empty=NOTHING)
            memory.words = remember(earlier.words, words, self.window, lengths)
            memory.keys = remember(earlier.keys, keys, self.window, lengths)
            symbols, documents = torch.cat([earlier.symbols, symbols], 1), torch.cat([earlier.documents, documents], 1)
            words, key = torch.cat([earlier.words, words], 1), torch.cat([earlier.keys, key], 1)
            key_heard = torch.cat([own, past + heard], dim=1)
        row, here, there = same_words(words + documents * BASE, self.window, heard.shape[1])
        scores = query @ key.mT
        found = (row * scores.shape[1] + heard[row, here]) * scores.shape[2] + key_heard[row, there]
        score = scores.flatten().gather(0, found) + (hidden @ self.gate.to(hidden.dtype) + self.bias)[row, here]
        wide = logits if logits.dtype.itemsize > 4 else logits.float()
        to = (row * wide.shape[1] + here) * wide.shape[2] + symbols[row, there + 1]
        return AddOdds.apply(wide.flatten(), score.to(wide.dtype), to).view_as(wide)


def words_so_far(symbols: Int[Tensor, "batch seq"], parted: Bool[Tensor, "batch seq"], before: Int[Tensor, "batch past"] | None
                 ) -> Int[Tensor, "batch seq"]:
    """A hash of the symbols since words were parted the last time, 0 there. ``before``: the hashes that go before."""
    carry = torch.zeros_like(symbols[:, :1]) if before is None or before.shape[1] == 0 else before[:, -1:]
    terms, cut = torch.cat([carry, symbols + 1], dim=1), torch.cat([torch.zeros_like(parted[:, :1]), parted], dim=1)
    # The polynomial with these coefficients, less its part up to the last parting: all modulo 2^64.
    powers, inverse = (torch.full_like(terms[0], base).cumprod(0) for base in (BASE, INVERSE))
    sums = (terms * inverse).cumsum(dim=1)
    place = torch.arange(terms.shape[1], device=terms.device).expand_as(terms)
    last = torch.where(cut, place, -1).cummax(dim=1).values
    return ((sums - torch.where(last >= 0, sums.gather(1, last.clamp(min=0)), 0)) * powers)[:, 1:]


def same_words(keys: Int[Tensor, "batch total"], window: int, seq: int
               ) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """All pairs of one of the last ``seq`` places and an earlier one, at most ``window`` before it, with equal keys:
    their row, the later place (counted from the first of the ``seq``) and the earlier one (from the first of all).
    """
    batch, total = keys.shape
    place = torch.arange(total, device=keys.device).expand_as(keys)
    if seq <= FEW:
        distance = place[:, total - seq:, None] - place[:, None]
        equal = (keys[:, total - seq:, None] == keys[:, None]) & (distance > 0) & (distance <= window)
        row, here, there = equal.nonzero().unbind(1)
        return row, here, there
    order = keys.argsort(dim=1, stable=True)
    ranked = keys.gather(1, order)
    opens = torch.ones_like(keys, dtype=torch.bool)
    opens[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = opens.long().cumsum(dim=1) * 2 * total  # with a place added, in ascending order
    first = torch.searchsorted(group + order, torch.maximum(group, group + order - window))
    count = torch.where(order >= total - seq, place - first, 0).flatten()
    later = torch.repeat_interleave(torch.arange(batch * total, device=keys.device), count)
    nth = torch.arange(len(later), device=keys.device) - (count.cumsum(0) - count)[later]
    row, order = later // total, order.flatten()
    return row, order[later] - (total - seq), order[row * total + first.flatten()[later] + nth]


class AddOdds(torch.autograd.Function):
    """``log(exp(logits) + sum of exp(scores))``, where each score goes to one logit: logits [n], scores and ``to`` [pair].

    Its cost grows with the pairs, not with the logits; gradients go to logits and scores.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, scores: Tensor, to: Tensor) -> Tensor:
        odds = torch.zeros_like(logits).scatter_add_(0, to, scores.exp())
        old = logits[to]
        new = torch.logaddexp(old, odds[to].log())
        ctx.save_for_backward((old - new).exp(), (scores - new).exp(), to)
        return logits.scatter(0, to, new)  # places that occur twice get the same value twice

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        of_logits, of_scores, to = ctx.saved_tensors
        at = grads[0][to]
        return grads[0].scatter(0, to, at * of_logits), at * of_scores, None
