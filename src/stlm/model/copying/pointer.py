"""A pointer to earlier words: what followed there may follow here.

Wherever a word has begun with the same tokens as the one in progress (none, at its start), the token that came next
is evidence for the same token now. Words are parted by space-like bytes; tokens of several bytes are words each. How
much it counts is a score: the trunk's answer here, as a query, times the answer that was heard there, as a key. Two
answers are alike where the same kind of word was due, so an equal place is found by what the trunk predicts anyway, and
nothing has to be learned in two steps, as attention that copies has to be. Evidence adds to the head's odds: p(c) is in
proportion to exp(logit of c) + the sum of exp(score) over the places where c followed.

It mixes a pointer with a softmax as the pointer sentinel does (Merity et al. 2017, arXiv 1609.07843), is a cache of
hidden states as Grave et al. 2017 (arXiv 1612.04426) have it, and adds that bytes have to agree since the word began.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.model.backbone import TrunkOutput
from stlm.model.copying import Copying, CopyingConfig
from stlm.model.hashing import BASE, INVERSE, MIX
from stlm.model.layout import take
from stlm.model.scores import Copies, Scores, wide
from stlm.nn.memory import Memory
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.stack import NOTHING, update_cache
from stlm.nn.weights import linear
from stlm.text.tokenizer import Tokenizer, parts_words


@dataclasses.dataclass(frozen=True)
class Config(CopyingConfig):
    """If an earlier word began like the present one, the token that followed there becomes more likely."""

    dim: int = 64
    """Width of queries and keys."""
    window: int = 2048
    """How many tokens back to search for words."""

    def __post_init__(self) -> None:
        if self.dim < 1 or self.window < 1:
            raise ValueError("dim and window have to be 1 or more")

    def build(self, dim: int, tokenizer: Tokenizer) -> Pointer:
        return Pointer(dim, tokenizer, self)


@dataclasses.dataclass
class WordsMemory(Memory):
    """Of the last tokens, right-aligned. told: they themselves, their documents, and hashes of their words; keys: those
    of the answers that were heard there.
    """

    seen: Int[Tensor, "batch past 3"]
    keys: Float[Tensor, "batch past dim"]

    def word(self) -> Int[Tensor, "batch n"]:
        """The hash of each row's word in progress, 0 where there's none; n is 0 before the first token."""
        last = self.seen[:, -1:]
        return last[..., 2].masked_fill(last[..., 1] == NOTHING, 0)


class Pointer(Copying[WordsMemory]):
    parts: Tensor

    def __init__(self, dim: int, tokenizer: Tokenizer, config: Config) -> None:
        super().__init__()
        of_bytes = all(len(token) <= 1 for token in tokenizer.token_bytes)
        self.register_buffer("parts", torch.tensor([parts_words(token) or not of_bytes for token in tokenizer.token_bytes]),
                             persistent=False)
        self.window = config.window
        self.norm, self.query_key = RMSNorm(dim), linear(dim, 2 * config.dim)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.gate, self.bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.tensor(-1.0))

    def new_memory(self, batch: int, device: torch.device) -> WordsMemory:
        keys = self.query_key.weight.new_zeros(batch, 0, self.query_key.out_features // 2)
        return WordsMemory(torch.zeros(batch, 0, 3, dtype=torch.long, device=device), keys)

    def forward(self, logits: Float[Tensor, "batch seq token"], hidden: Float[Tensor, "batch seq dim"], output: TrunkOutput,
                tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"], memory: WordsMemory | None,
                lengths: Int[Tensor, " batch"] | None) -> Scores:
        queries, keys = self.query_key(self.norm(output.states)).chunk(2, dim=-1)
        queries, keys = rms_norm(queries) * (self.sharpness / queries.shape[-1]), rms_norm(keys)
        patch_index = output.patch_index
        words = words_so_far(tokens, self.parts[tokens], None if memory is None else memory.word())
        if memory is not None:
            seen, keys = torch.stack([tokens, segment_ids, words], dim=2), take(keys, patch_index)
            if (past := memory.keys.shape[1]) > 0:
                seen, keys = torch.cat([memory.seen, seen], dim=1), torch.cat([memory.keys, keys], dim=1)
            whole = None if lengths is None else past + lengths
            memory.seen = update_cache(None, seen, self.window, whole, empty=NOTHING)
            memory.keys = update_cache(None, keys, self.window, whole)
            tokens, segment_ids, words = seen.unbind(2)
        alike, scores = words + segment_ids * MIX, queries @ keys.mT
        gate = hidden @ self.gate.to(hidden.dtype) + self.bias
        if memory is not None and patch_index.shape[1] == 1:  # the step of writing, in as few calls as possible
            odds = (take(scores, patch_index)[:, 0, :-1] + gate).exp().masked_fill(alike[:, :-1] != alike[:, -1:], 0)
            logits = wide(logits)
            odds = torch.zeros_like(logits[:, 0]).scatter_add(1, tokens[:, 1:].clamp(min=0), odds.to(logits.dtype))
            return Scores(torch.logaddexp(logits, odds.log()[:, None]))
        row, here, there = same_words(alike, self.window, patch_index.shape[1])
        at = there if memory is not None else patch_index[row, there]
        found = (row * scores.shape[1] + patch_index[row, here]) * scores.shape[2] + at
        score = scores.flatten().gather(0, found) + gate[row, here]
        return Scores(logits, Copies(row * logits.shape[1] + here, tokens[row, there + 1], wide(score)))


def words_so_far(tokens: Int[Tensor, "batch seq"], parted: Bool[Tensor, "batch seq"], before: Int[Tensor, "batch n"] | None
                 ) -> Int[Tensor, "batch seq"]:
    """A hash of the tokens since words were parted the last time, 0 there. ``before``: the last hash before, if any."""
    carry = torch.zeros_like(tokens[:, :1]) if before is None or before.shape[1] == 0 else before
    if tokens.shape[1] == 1:  # the step of writing, in as few calls as possible
        return torch.where(parted, 0, carry * BASE + tokens + 1)
    terms, cut = torch.cat([carry, tokens + 1], dim=1), torch.cat([torch.zeros_like(parted[:, :1]), parted], dim=1)
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
