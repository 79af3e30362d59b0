"""A pointer to earlier words of the document.

An earlier word matches if it begins with the same tokens as the word in progress (with no tokens at its start). The token that
followed there is evidence for the same token here. Space-like bytes separate words; a token of several bytes is one word. The
weight of the evidence is a score: the trunk output at the present position is the query, the trunk output at the earlier
position is the key. Trunk outputs are similar where the trunk predicts the same kind of word. So a match follows from what the
trunk predicts anyway, while attention that copies has to learn two steps. Evidence adds to the head's odds: p(c) is
proportional to exp(logit of c) + the sum of exp(score) over the positions that c followed.

The mix of a pointer and a softmax is that of the pointer sentinel (Merity et al. 2017, arXiv 1609.07843). Keys are cached
hidden states as in Grave et al. 2017 (arXiv 1612.04426). New is the condition that the tokens since the word began are equal.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.config.bounds import Size
from stlm.model.backbone import TrunkOutput
from stlm.model.copying import Copying, CopyingConfig
from stlm.model.hashing import BASE, INVERSE, MIX
from stlm.model.layout import take
from stlm.model.room import Part, few_sizes
from stlm.model.scores import Copies, Scores, wide
from stlm.nn.memory import Memory
from stlm.nn.norm import RMSNorm, rms_norm
from stlm.nn.stack import NOTHING, update_cache
from stlm.nn.weights import linear
from stlm.text.tokenizer import Tokenizer, parts_words

PER_OCTAVE = 2  # sizes of the room for pairs: real text takes 1 or 2 of them, and 10 to 25 % more pairs (docs/log.md)


@dataclasses.dataclass(frozen=True)
class Config(CopyingConfig):
    """If an earlier word began like the present one, the token that followed there becomes more likely."""

    dim: Size = 64
    """Width of queries and keys."""
    window: Size = 2048
    """How many tokens back to search for words."""

    def build(self, dim: int, tokenizer: Tokenizer) -> Pointer:
        return Pointer(dim, tokenizer, self)


@dataclasses.dataclass
class WordsMemory(Memory):
    """The last tokens, right-aligned. seen: each token, its segment id, and the hash of its word so far; keys: the keys of the
    trunk outputs that were read there.
    """

    seen: Int[Tensor, "batch past 3"]
    keys: Float[Tensor, "batch past dim"]

    def word(self) -> Int[Tensor, "batch n"]:
        """The hash of each row's word in progress, 0 if there is none. n is 0 before the first token, 1 after it."""
        last = self.seen[:, -1:]
        return last[..., 2].masked_fill(last[..., 1] == NOTHING, 0)


class Pointer(Copying[WordsMemory]):
    separators: Tensor

    def __init__(self, dim: int, tokenizer: Tokenizer, config: Config) -> None:
        super().__init__()
        of_bytes = all(len(token) <= 1 for token in tokenizer.token_bytes)
        separators = torch.tensor([parts_words(token) or not of_bytes for token in tokenizer.token_bytes])
        self.register_buffer("separators", separators, persistent=False)
        self.window = config.window
        self.norm, self.query_key = RMSNorm(dim), linear(dim, 2 * config.dim)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.gate, self.bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.tensor(-1.0))

    def new_memory(self, batch: int, device: torch.device) -> WordsMemory:
        keys = self.gate.new_zeros(batch, 0, self.query_key.out_features // 2)
        return WordsMemory(torch.zeros(batch, 0, 3, dtype=torch.long, device=device), keys)

    def from_tokens(self, few: bool) -> Part | None:
        if not few:
            return None
        separators = self.separators.cpu()

        def find(tokens: Tensor, segment_ids: Tensor, positions: Tensor) -> dict[str, Any]:
            parted = separators.index_select(0, tokens.flatten()).view_as(tokens)
            keys = words_so_far(tokens, parted, None) + segment_ids * MIX
            return {"n_pairs": few_sizes(count_pairs(keys.numpy()), PER_OCTAVE)}
        return find

    def forward(self, logits: Float[Tensor, "batch seq token"], hidden: Float[Tensor, "batch seq dim"], output: TrunkOutput,
                tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"], memory: WordsMemory | None,
                lengths: Int[Tensor, " batch"] | None, n_pairs: int | None = None) -> Scores:
        queries, keys = self.query_key(self.norm(output.states)).chunk(2, dim=-1)
        queries, keys = rms_norm(queries) * (self.sharpness / queries.shape[-1]), rms_norm(keys)
        patch_index = output.patch_index
        words = words_so_far(tokens, self.separators[tokens], None if memory is None else memory.word())
        if memory is not None:
            seen, keys = torch.stack([tokens, segment_ids, words], dim=2), take(keys, patch_index)
            if (past := memory.keys.shape[1]) > 0:
                seen, keys = torch.cat([memory.seen, seen], dim=1), torch.cat([memory.keys, keys], dim=1)
            n_valid = None if lengths is None else past + lengths
            memory.seen = update_cache(None, seen, self.window, n_valid, empty=NOTHING)
            memory.keys = update_cache(None, keys, self.window, n_valid)
            tokens, segment_ids, words = seen.unbind(2)
        word_keys, scores = words + segment_ids * MIX, queries @ keys.mT
        gate = hidden @ self.gate.to(hidden.dtype) + self.bias
        if memory is not None and patch_index.shape[1] == 1:  # one step of decoding, in as few calls as possible
            odds = (take(scores, patch_index)[:, 0, :-1] + gate).exp().masked_fill(word_keys[:, :-1] != word_keys[:, -1:], 0)
            logits = wide(logits)
            odds = torch.zeros_like(logits[:, 0]).scatter_add(1, tokens[:, 1:].clamp(min=0), odds.to(logits.dtype))
            return Scores(torch.logaddexp(logits, odds.log()[:, None]))
        row, later, earlier, *used = (same_words(word_keys, self.window, patch_index.shape[1]) if n_pairs is None else
                                      same_words_in_room(word_keys, self.window, n_pairs))
        key_index = earlier if memory is not None else patch_index[row, earlier]
        found = (row * scores.shape[1] + patch_index[row, later]) * scores.shape[2] + key_index
        place = row * logits.shape[1] + later
        score = wide(scores.flatten().gather(0, found) + gate.flatten().gather(0, place))
        for which in used:
            score = score.masked_fill(~which, -torch.inf)
        return Scores(logits, Copies(place, tokens[row, earlier + 1], score))


def words_so_far(tokens: Int[Tensor, "batch seq"], separators: Bool[Tensor, "batch seq"], before: Int[Tensor, "batch n"] | None
                 ) -> Int[Tensor, "batch seq"]:
    """A hash of the tokens since the last separator, 0 at a separator. before: the hash of the token before these, if any."""
    carry = torch.zeros_like(tokens[:, :1]) if before is None or before.shape[1] == 0 else before
    if tokens.shape[1] == 1:  # one step of decoding, in as few calls as possible
        return torch.where(separators, 0, carry * BASE + tokens + 1)
    terms, resets = torch.cat([carry, tokens + 1], dim=1), torch.cat([torch.zeros_like(separators[:, :1]), separators], dim=1)
    # The polynomial with these coefficients, minus its part up to the last separator, all modulo 2^64.
    powers, inverse = (torch.full_like(terms[0], base).cumprod(0) for base in (BASE, INVERSE))
    sums = (terms * inverse).cumsum(dim=1)
    index = torch.arange(terms.shape[1], device=terms.device).expand_as(terms)
    last = torch.where(resets, index, -1).cummax(dim=1).values
    return ((sums - torch.where(last >= 0, sums.gather(1, last.clamp(min=0)), 0)) * powers)[:, 1:]


def same_words(keys: Int[Tensor, "batch total"], window: int, seq: int
               ) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """All pairs of positions with equal keys: one of the last ``seq``, and an earlier one at most ``window`` before it.

    Returns the row of each pair, the later position (counted from the first of the ``seq``), and the earlier position (counted
    from the first of all). Their number depends on the keys, so a GPU waits for it.
    """
    batch, total = keys.shape
    order, first, count = _runs(keys, window, seq)
    later = torch.repeat_interleave(torch.arange(batch * total, device=keys.device), count)
    nth = torch.arange(len(later), device=keys.device) - (count.cumsum(0) - count)[later]
    row = later // total
    return row, order[later] - (total - seq), order[row * total + first[later] + nth]


def same_words_in_room(keys: Int[Tensor, "batch seq"], window: int, room: int
                       ) -> tuple[Int[Tensor, " room"], Int[Tensor, " room"], Int[Tensor, " room"], Bool[Tensor, " room"]]:
    """The pairs of `same_words` over whole rows, in the same order, and which of the ``room`` places hold one. The other places
    hold any positions of a row, spread out, because additions to one address wait for each other on a GPU.
    """
    seq = keys.shape[1]
    order, first, count = _runs(keys, window, seq)
    place, until = torch.arange(room, device=keys.device), count.cumsum(0)
    used = place < until[-1]
    later = torch.where(used, torch.searchsorted(until, place, right=True), place % len(count))
    nth = torch.where(used, place - (until - count)[later], 0)
    row = later // seq
    return row, order[later], torch.where(used, order[row * seq + first[later] + nth], 0), used


def _runs(keys: Int[Tensor, "batch total"], window: int, seq: int
          ) -> tuple[Int[Tensor, " place"], Int[Tensor, " place"], Int[Tensor, " place"]]:
    """Sort each row by key and then by position. Returns for each place of the sorted rows: the position there, the place in
    its row of the first position that it pairs with, and how many there are from that to itself.
    """
    total = keys.shape[1]
    index = torch.arange(total, device=keys.device).expand_as(keys)
    order = keys.argsort(dim=1, stable=True)
    ranked = keys.gather(1, order)
    starts = torch.ones_like(keys, dtype=torch.bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = starts.long().cumsum(dim=1) * 2 * total  # plus an index, in ascending order
    first = torch.searchsorted(group + order, torch.maximum(group, group + order - window))
    return order.flatten(), first.flatten(), torch.where(order >= total - seq, index - first, 0).flatten()


def count_pairs(keys: Int[np.ndarray, "batch seq"]) -> int:
    """How many pairs of equal keys the rows have; at least as many as `same_words` finds in any window."""
    ranked = np.sort(keys, axis=1)
    opens = np.ones(ranked.shape, dtype=bool)
    opens[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    sizes = np.diff(np.flatnonzero(opens), append=opens.size)
    return (int(sizes @ sizes) - opens.size) // 2
