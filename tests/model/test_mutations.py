"""Each part that is broken on purpose fails the check of the invariant that it breaks.

`test_broken_on_purpose.py` breaks the assembly of the model in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from stlm.model import checks, lm
from stlm.model.copying import pointer
from stlm.model.depth import early_exit, residual
from stlm.model.depth.early_exit import EarlyExit
from stlm.model.depth.mixture import Mixture
from stlm.model.embedding import ngrams, recall
from stlm.model.head.tied import Tied
from stlm.model.patching import stride
from stlm.model.patching.dynamic import Dynamic
from stlm.model.patching.entropy import Entropy
from stlm.model.patching.stride import Stride
from stlm.model.patching.whitespace import Whitespace
from stlm.model.pooling.attention import Attention as PoolingAttention
from stlm.model.pooling.last import Last
from stlm.model.small import Letters
from stlm.nn.block import attention, linear
from stlm.nn.block.attention import AttentionBlock
from stlm.nn.block.conv import ConvBlock
from stlm.nn.block.linear import LinearBlock
from stlm.nn.sparse import SparseStack
from stlm.nn.stack import Block
from tests.conftest import small_config, small_model

ROWS = torch.tensor([checks.tokens_of(checks.TEXT, 256)[:40], [*checks.TEXT[30:], 256, *checks.TEXT[:12]]])
Cell = tuple[str, ...]
Change = Callable[[pytest.MonkeyPatch], None]


def leaks(cell: Cell) -> None:
    checks.check_nothing_leaks(small_model(cell), ROWS, 256)


def leaks_in_training(cell: Cell) -> None:
    checks.check_nothing_leaks(small_model(cell).train(), ROWS, 256)


def sums(cell: Cell) -> None:
    checks.check_sums_to_one(small_model(cell, Letters()), 3, 5)


def boundaries(cell: Cell) -> None:
    checks.check_boundaries_depend_on_the_past(small_model(cell), ROWS, 256)


def boundaries_in_training(cell: Cell) -> None:
    checks.check_boundaries_depend_on_the_past(small_model(cell).train(), ROWS, 256)


def steps(cell: Cell) -> None:
    checks.check_one_at_a_time(small_model(cell), ROWS[0])


def pieces(cell: Cell) -> None:
    checks.check_steps_equal_whole(small_model(cell), ROWS, seed=0)


def neighbours(cell: Cell) -> None:
    checks.check_neighbours_do_not_matter(small_model(cell), b"Another one, unfini", checks.TEXT)


def learns(cell: Cell) -> None:
    checks.check_every_parameter_learns(lambda seed: small_model(cell, seed=seed), ROWS)


def odd(cell: Cell) -> None:
    checks.check_odd_input(small_model(cell), checks.ODD["no spaces"])


def json(cell: Cell) -> None:
    checks.check_config_survives_json(small_config(cell))


def wrapped(owner: Any, name: str, change: Callable[..., Any]) -> Change:
    """Replace a function or method, ``whole``, by ``change(whole, ...)``."""
    def act(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **named: change(whole, *given, **named))
    return act


def ahead(x: torch.Tensor) -> torch.Tensor:
    """The next value at each index; at the last index, its own value."""
    return torch.cat([x[:, 1:], x[:, -1:]], dim=1)


def masked(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Change the mask of attention: [..., query, key]."""
    def act(whole, *arguments):
        context = whole(*arguments)
        allowed = change(context.allowed)
        bias = torch.zeros_like(context.bias).masked_fill(~allowed, -torch.inf)
        return dataclasses.replace(context, allowed=allowed, bias=bias)
    return wrapped(AttentionBlock, "context", act)


def by_rank(whole, self, *arguments):
    """Choose patches as in training, by their rank among all, in generation too."""
    self.training = True
    try:
        return whole(self, *arguments)
    finally:
        self.training = False


def never_with_a_cache(whole, self, x, segments, positions, cache=None, *rest, **named):
    threshold, self.exit_threshold = self.exit_threshold, self.exit_threshold if cache is None else 0.0
    try:
        return whole(self, x, segments, positions, cache, *rest, **named)
    finally:
        self.exit_threshold = threshold


def at_itself(whole, keys, window, seq):
    """Pair each index with itself, so that the token copied from there is the target."""
    row, here, _ = whole(keys, window, seq)
    return row, here, (here + keys.shape[1] - seq).clamp(max=keys.shape[1] - 2)


PLAIN = ("whitespace", "mean", "conv", "tied")
LAST = ("whitespace", "last", "conv", "tied")
FLAT = ("none", "last", "conv", "tied")
WIDE = ("stride", "mean", "attention", "tied")
TRUNK = ("whitespace", "last", "conv", "tied", "tokens", "none", "linear")


def with_depth(kind: str) -> Cell:
    return (*LAST, "tokens", "none", "attention", "none", kind)


BROKEN: dict[str, tuple[Callable[[Cell], None], Cell, Change]] = {
    "attention that sees the next byte": (leaks, WIDE, masked(lambda allowed: allowed | torch.cat(
        [allowed[..., 1:, :], allowed[..., -1:, :]], dim=-2))),
    "attention of the trunk that sees the next patch": (leaks, LAST, masked(lambda allowed: allowed | torch.cat(
        [allowed[..., 1:, :], allowed[..., -1:, :]], dim=-2))),
    "attention that sees other documents": (neighbours, WIDE, wrapped(
        AttentionBlock, "context", lambda whole, self, segment_ids, *rest: whole(self, torch.zeros_like(segment_ids), *rest))),
    "attention of which a first byte sees nothing": (odd, WIDE, masked(
        lambda allowed: allowed & ~torch.eye(*allowed.shape[-2:], dtype=torch.bool))),
    "attention whose positions begin anew with each call": (steps, WIDE, wrapped(
        attention, "rotation", lambda whole, positions, *rest: whole(positions - positions[:, :1], *rest))),
    "attention that forgets the oldest key": (steps, WIDE, wrapped(
        AttentionBlock, "update_cache", lambda whole, *arguments: tuple(
            F.pad(kept[:, 1:], (0, 0) * (kept.dim() - 2) + (1, 0)) for kept in whole(*arguments)))),
    "a convolution with a tap on the next byte": (leaks, PLAIN, wrapped(
        ConvBlock, "forward", lambda whole, self, x, *rest: whole(self, x + ahead(x), *rest))),
    "a convolution over other documents": (neighbours, PLAIN, wrapped(
        ConvBlock, "context", lambda whole, self, segment_ids, *rest: whole(self, torch.zeros_like(segment_ids), *rest))),
    "a recurrence whose state goes on into another document": (neighbours, TRUNK, wrapped(
        linear, "scan", lambda whole, q, k, v, log_a, segment_ids, before, *rest: whole(
            q, k, v, log_a, torch.zeros_like(segment_ids), torch.zeros_like(before), *rest))),
    "a recurrence that sees the next patch": (leaks, TRUNK, wrapped(
        linear, "scan", lambda whole, q, k, v, *rest: whole(q, ahead(k), v, *rest))),
    "a recurrence that forgets its state": (steps, TRUNK, wrapped(
        LinearBlock, "update_cache", lambda whole, self, past, *rest: whole(self, None, *rest))),
    "a cache that keeps padding": (pieces, PLAIN, wrapped(
        Block, "update_cache", lambda whole, self, past, new, lengths: whole(self, past, new, None))),
    "a norm over the rows of a batch": (neighbours, PLAIN, wrapped(
        ConvBlock, "forward", lambda whole, self, x, *rest: whole(self, x - x.mean(dim=0), *rest))),
    "a norm over the positions of a row": (leaks, PLAIN, wrapped(
        ConvBlock, "forward", lambda whole, self, x, *rest: whole(self, x - x.mean(dim=1, keepdim=True), *rest))),
    "a pooling that adds the next patch": (leaks, LAST, wrapped(
        Last, "forward", lambda whole, *arguments: whole(*arguments) + ahead(whole(*arguments)))),
    "a pooling whose weights get no gradient": (learns, ("whitespace", "attention", "conv", "tied"), wrapped(
        PoolingAttention, "forward", lambda whole, *arguments: whole(*arguments).detach())),
    "a pointer that copies its own target": (leaks, (*LAST, "tokens", "pointer"), wrapped(pointer, "same_words", at_itself)),
    "a pointer to other documents": (neighbours, (*LAST, "tokens", "pointer"), lambda patch: patch.setattr(pointer, "MIX", 0)),
    "n-grams that hold the next byte": (leaks, (*LAST, "ngrams"), wrapped(
        ngrams.NGrams, "rows_of", lambda whole, self, tokens, *rest: whole(self, ahead(tokens), *rest))),
    "n-grams that reach into another document": (neighbours, (*LAST, "ngrams"), wrapped(
        ngrams.NGrams, "rows_of", lambda whole, self, tokens, segment_ids, seq: whole(
            self, tokens, torch.zeros_like(segment_ids), seq))),
    "a match that is the place itself": (leaks, (*LAST, "recall"), wrapped(
        recall, "last_occurrences", lambda whole, tokens, *rest: torch.arange(tokens.shape[1]).clamp(
            max=tokens.shape[1] - 2)[None, :, None].expand_as(whole(tokens, *rest)))),
    "a match in another document": (neighbours, (*LAST, "recall"), wrapped(
        recall, "last_occurrences", lambda whole, tokens, segment_ids, *rest: whole(
            tokens, torch.zeros_like(segment_ids), *rest))),
    "a head that reads the next vector": (sums, PLAIN, wrapped(
        Tied, "forward", lambda whole, self, hidden, table: whole(self, hidden + ahead(hidden), table))),
    "patches that end before a space": (boundaries, PLAIN, wrapped(
        Whitespace, "forward", lambda whole, self, tokens, *rest: whole(self, ahead(tokens), *rest))),
    "patches that are counted from the end of a row": (boundaries, ("stride", "mean", "conv", "tied"), wrapped(
        Stride, "forward", lambda whole, self, tokens, segments, positions, *rest: whole(
            self, tokens, segments, torch.where(positions > 0, positions + tokens.shape[1], 0), *rest))),
    "patches that go on over documents": (neighbours, ("stride", "mean", "conv", "tied"), wrapped(
        Stride, "forward", lambda whole, self, tokens, segments, positions, *rest: whole(
            self, tokens, segments, torch.arange(tokens.shape[1]).expand_as(positions), *rest))),
    "a learned rule that compares with the next byte": (boundaries, ("dynamic", "last", "conv", "tied"), wrapped(
        Dynamic, "forward", lambda whole, self, tokens, segments, positions, encoded, *rest: whole(
            self, tokens, segments, positions, ahead(encoded), *rest))),
    "a learned rule that looks at the whole row while it trains": (boundaries_in_training, ("dynamic", "last", "conv", "tied"),
        wrapped(Dynamic, "forward", lambda whole, self, tokens, segments, positions, encoded, *rest: whole(
            self, tokens, segments, positions, encoded - self.training * encoded.mean(dim=1, keepdim=True), *rest))),
    "an entropy of the byte after the next": (boundaries, ("entropy", "last", "conv", "tied"), wrapped(
        Entropy, "forward", lambda whole, self, tokens, *rest: whole(self, ahead(tokens), *rest))),
    "a rule that forgets where it was": (steps, PLAIN, wrapped(
        Whitespace, "forward", lambda whole, self, *rest: whole(
            self, *rest[:4], rest[4] and self.new_memory(1, None), *rest[5:]))),
    "a mixture that ranks patches in use": (leaks, with_depth("mixture"), wrapped(Mixture, "_choose", by_rank)),
    "gates that the next patch opens": (leaks, with_depth("skip"), wrapped(
        SparseStack, "select", lambda whole, self, segments, positions, chosen, *rest: whole(
            self, segments, positions, ahead(chosen), *rest))),
    "patches that leave as the next one does": (leaks, with_depth("exiting"), wrapped(
        early_exit.F, "cosine_similarity", lambda whole, x, y, dim=-1: ahead(whole(x, y, dim)))),
    "n-grams of the next byte": (leaks, with_depth("residual"), wrapped(
        lm, "ngram_hashes", lambda whole, tokens, *rest: whole(ahead(tokens), *rest))),
    "n-grams over documents": (neighbours, with_depth("with values"), wrapped(
        lm, "ngram_hashes", lambda whole, tokens, ids, *rest: whole(tokens, torch.zeros_like(ids), *rest))),
    "n-grams of the next patch": (leaks, with_depth("residual"), wrapped(
        residual.Table, "forward", lambda whole, self, hashes: whole(self, ahead(hashes)))),
    "n-grams that forget the bytes before": (steps, with_depth("residual"), wrapped(
        lm, "ngram_hashes", lambda whole, tokens, ids, seq, *rest: whole(tokens[:, -seq:], ids[:, -seq:], seq, *rest))),
    "a U-Net that reads the next patch": (leaks, with_depth("residual"), wrapped(
        residual.ResidualStack, "_before", lambda whole, self, depth, x, origin, outputs, added: whole(
            self, depth, x, origin, [ahead(out) for out in outputs], added))),
    "first values of the next patch": (leaks, with_depth("with values"), wrapped(
        residual.ResidualStack, "_with_values", lambda whole, self, context, depth, values, first: whole(
            self, context, depth, values, None if first is None else ahead(first)))),
    "values that are cached without what is added": (steps, with_depth("with values"), wrapped(
        AttentionBlock, "update_cache", lambda whole, self, past, new, lengths: whole(
            self, past, (new[0], new[1] - new[1][:, :1]), lengths))),
    "patches that leave only where all are read at once": (steps, with_depth("exiting"), wrapped(
        EarlyExit, "forward", never_with_a_cache)),
    "a config that changes when it is read again": (json, ("stride", "mean", "conv", "tied"), lambda patch: patch.setattr(
        stride.Config, "__post_init__", lambda self: object.__setattr__(self, "stride", self.stride + 1))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_found(monkeypatch, name):
    look, cell, change = BROKEN[name]
    look(cell)
    change(monkeypatch)
    with pytest.raises(AssertionError):
        look(cell)
