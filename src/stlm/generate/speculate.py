"""Self-speculative writing: the first layers of the trunk draft, the rest verify (LayerSkip, Elhoushi et al. 2024, arXiv
2404.16710, section 4.3).

A draft of a few tokens costs a few passes through the first layers; the other layers then read the whole draft at once, going
on from what the first ones found and remember. Each token is drawn by the same luck both times, so what is kept is what full
decoding writes: the first token that differs is replaced by the full model's, and the rest of the draft thrown away.
The same up to rounding: products of one row and of several add in another order, so where a draw falls on the border between
two tokens, the other one may be written (``python -m benchmarks speculation`` counts how often).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.generate.constraint import DecodingConstraint
from stlm.generate.sampling import Sampling, gumbel_noise, pick
from stlm.generate.writer import PIECE
from stlm.model.lm import LM, Cache
from stlm.model.patching import Patching
from stlm.nn.sparse import SparseStack
from stlm.nn.stack import Stack, StackCache
from stlm.text.tokenizer import Tokenizer


@torch.inference_mode()
def write_speculating(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0,
                      drafts: int = 6, layer: int | None = None) -> Iterator[bytes]:
    """What `writer.write` yields, drafting ``drafts`` tokens at a time by the first ``layer`` layers; an eighth where None."""
    speculator, generator, gumbel = SelfSpeculator(model, layer), torch.Generator().manual_seed(seed), list[np.ndarray]()
    unread = [tokenizer.bos, *tokenizer.encode(prompt).tolist()]
    constraint = DecodingConstraint.after_prompt(tokenizer, prompt, unread, max_bytes)
    while len(unread) > PIECE:
        speculator.draft(unread[:PIECE])
        speculator.verify()
        unread = unread[PIECE:]
    while constraint.allowed().any():
        gumbel += [gumbel_noise(generator, tokenizer.vocab_size) for _ in range(drafts - len(gumbel))]
        drafted, ahead = list[int](), constraint
        while len(drafted) < drafts and ahead.allowed().any() and (not drafted or drafted[-1] != tokenizer.bos):
            logits = speculator.draft([drafted[-1]] if drafted else unread)
            drafted.append(pick(logits, ahead.allowed(), how, gumbel[len(drafted)]))
            ahead = ahead.after(drafted[-1])
        scores, kept = speculator.verify(), 0
        while kept < len(drafted):
            token = pick(scores[kept], constraint.allowed(), how, gumbel[kept])
            if token == tokenizer.bos:
                return
            if piece := tokenizer.token_bytes[token]:
                yield piece
            constraint, unread, kept = constraint.after(token), [token], kept + 1
            if token != drafted[kept - 1]:
                break
        gumbel = gumbel[kept:]
        speculator.keep(kept)


class SelfSpeculator:
    """A model as two that share all weights: the trunk of one is the first layers, that of the other the rest, which goes on
    from what the first made. `draft` any number of times, `verify` and, where not all counts, `keep` follow each other.
    """

    def __init__(self, model: LM, layer: int | None) -> None:
        blocks = list(model.trunk.blocks)[:model.trunk.active]
        n = len(blocks)
        if type(model.patching).dechunk is not Patching.dechunk:
            raise UserError(f"--speculate: patching = {model.config.patching.kind} weighs what the trunk answers by how sure "
                            "the ends of patches were, which one half alone knows; leave --speculate out")
        if isinstance(model.trunk, SparseStack) or getattr(model.trunk, "exit_threshold", 0) > 0:
            raise UserError("--speculate: patches don't all go through all layers of this model; leave --speculate out")
        if n < 2:
            raise UserError("--speculate needs a model of two layers or more")
        layer = max(1, n // 8) if layer is None else layer
        if not 1 <= layer < n:
            raise UserError(f"--draft-layer {layer}: it has to lie between 1 and {n - 1}, for this model has {n} layers")
        self._first, self._rest = _First(blocks[:layer]), _Rest(blocks[layer:])
        self._drafter, self._verifier = _with_trunk(model, self._first), _with_trunk(model, self._rest)
        self._draft_cache, self._cache = self._drafter.new_cache(1), self._verifier.new_cache(1)
        self._before, self._read, self._ends = list[Cache](), list[list[int]](), list[Tensor]()

    def draft(self, tokens: list[int]) -> Float[Tensor, " token"]:
        """The first layers' scores of what follows these tokens."""
        self._before.append(self._draft_cache.copy())
        output = self._drafter(self._inputs(tokens), self._draft_cache)
        self._read.append(tokens)
        self._ends.append(output.ends)
        return output.logits[0, -1].cpu()

    def verify(self) -> Float[Tensor, "n token"]:
        """The whole model's scores of what follows each of the drafts since the last time."""
        self._checked, self._ended, self._start = self._read, self._ends, self._cache.copy()
        self._rest.given, self._first.made = self._first.made, []
        self._drafts, self._before, self._read, self._ends = self._before, [], [], []
        return self._verifier(self._of_checked(), self._cache).logits[0, len(self._checked[0]) - 1:].cpu()

    def keep(self, n: int) -> None:
        """Of the drafts that were verified, the first ``n`` count; neither half remembers the others."""
        if n == len(self._checked):
            return
        self._draft_cache, self._cache = self._drafts[n], self._start
        self._rest.again = True
        self._verifier(self._of_checked(n), self._cache)
        self._rest.again = False

    def _of_checked(self, n: int | None = None) -> Inputs:
        """The tokens that are verified, or the first ``n`` of these drafts; patches end where they did when they were read."""
        tokens = [token for part in self._checked[:n] for token in part]
        return dataclasses.replace(self._inputs(tokens), ends=torch.cat(self._ended[:n], dim=1))

    def _inputs(self, tokens: list[int]) -> Inputs:
        inputs: Int[Tensor, "1 n"] = torch.tensor([tokens], device=self._drafter.device)
        return Inputs(inputs)


class _First(Stack):
    """The first layers. made: what came out since that was last emptied."""

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.made: list[Tensor] = []

    def forward(self, *inputs: Any) -> Tensor:
        self.made.append(super().forward(*inputs))
        return self.made[-1]


class _Rest(Stack):
    """The other layers. given: what to go on from, in place of the input. again: take what the last call found, of which the
    beginning is asked for once more.
    """

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.given: list[Tensor] = []
        self.again = False

    def forward(self, x: Tensor, segment_ids: Tensor, positions: Tensor, cache: StackCache | None = None,
                lengths: Tensor | None = None) -> Tensor:
        assert cache is not None
        n = x.shape[1]
        if not self.again:
            self._found, self._new = torch.cat(self.given, dim=1)[:, :n], []
            context = self.context(x, segment_ids, positions, cache)
            for depth in range(self.active):
                block: Any = self.blocks[depth]
                self._found, new = block(self._found, context, cache.layers[depth])
                self._new.append(new)
        for depth in range(self.active):
            block = self.blocks[depth]
            new = tuple(item[:, :n] for item in self._new[depth])
            cache.layers[depth] = block.update_cache(cache.layers[depth], new, lengths)
        self.went(segment_ids, cache, lengths)
        return self._found[:, :n]


def _with_trunk(model: LM, trunk: Stack) -> LM:
    """The same model with another trunk; all else is shared."""
    other = copy.copy(model)
    other._modules = dict(model._modules)
    other.trunk = trunk
    return other.eval()
