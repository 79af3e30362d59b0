"""Self-speculative decoding: the first layers of the trunk draft, the rest verify (LayerSkip, Elhoushi et al. 2024, arXiv
2404.16710, section 4.3).

A draft of a few tokens costs a few passes through the first layers; the other layers then read the whole draft at once, going
on from what the first ones computed. Each token is drawn with the same noise both times, so the text is what full decoding
writes: the first token that differs is replaced by the full model's, and the rest of the draft is thrown away. The text is the
same up to rounding: products of one row and of several add in another order, so where two tokens are all but tied, the other
one may be drawn (``python -m benchmarks speculation`` counts how often).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.generate.constraint import Constraint
from stlm.generate.sampling import Sampling, gumbel_noise, pick
from stlm.generate.session import CHUNK, Session, Step
from stlm.generate.writer import stream
from stlm.model.lm import LM, Cache
from stlm.nn.stack import Stack, StackCache, StackOutput
from stlm.text.tokenizer import Tokenizer


def write_speculating(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0,
                      drafts: int = 6, layer: int | None = None) -> Iterator[bytes]:
    """What `writer.write` yields, drafting ``drafts`` tokens at a time by the first ``layer`` layers; an eighth where None."""
    session = SpeculativeSession(model, tokenizer, how, drafts, layer)
    session.prefill([prompt], max_bytes, [seed])
    return stream(session)


class SpeculativeSession(Session):
    """A session of one text whose tokens are drafted and verified, several at a time."""

    def __init__(self, model: LM, tokenizer: Tokenizer, sampling: Sampling, drafts: int = 6, layer: int | None = None) -> None:
        super().__init__(model, tokenizer, sampling)
        self._speculator, self._drafts = SelfSpeculator(model, layer), drafts
        self._noise: list[np.ndarray] = []
        self._verified: list[Step] = []

    def prefill(self, prompts: Sequence[bytes], max_bytes: int, seeds: Sequence[int] | None = None,
                stops: Sequence[bytes] = (), constraints: Sequence[Constraint] | None = None) -> None:
        if len(prompts) != 1:
            raise ValueError("speculation writes one text at a time")
        super().prefill(prompts, max_bytes, seeds, stops, constraints)
        while len(self._unread[0]) > CHUNK:
            self._speculator.draft(self._unread[0][:CHUNK])
            self._speculator.verify()
            self._unread[0] = self._unread[0][CHUNK:]

    def step(self) -> list[Step | None]:
        if not self._verified:
            if not self._allowed():
                return [None]
            self._round()
        step = self._verified.pop(0)
        self.texts[0].take(step, self.tokenizer.bos)
        if self.done:
            self._verified.clear()
        return [step]

    @torch.inference_mode()
    def _round(self) -> None:
        """Draft some tokens, and verify them: at least one comes out."""
        text, tokenizer, speculator = self.texts[0], self.tokenizer, self._speculator
        self._noise += [gumbel_noise(text.generator, tokenizer.vocab_size) for _ in range(self._drafts - len(self._noise))]
        drafted, ahead = list[int](), text.constraint
        while len(drafted) < self._drafts and ahead.allowed().any() and (not drafted or drafted[-1] != tokenizer.bos):
            scores = speculator.draft([drafted[-1]] if drafted else self._unread[0])
            drafted.append(pick(scores, ahead.allowed(), self.sampling, self._noise[len(drafted)]))
            ahead = ahead.after(drafted[-1])
        constraint = text.constraint
        for place, scores in enumerate(speculator.verify()):
            token = pick(scores, constraint.allowed(), self.sampling, self._noise[place])
            self._verified.append(self._step_of(token, scores))
            constraint = constraint.after(token)
            if token != drafted[place] or token == tokenizer.bos:
                break
        kept = len(self._verified)
        self._noise, self._unread = self._noise[kept:], [[self._verified[-1].token]]
        speculator.keep(kept)


class SelfSpeculator:
    """A model as two that share all weights: the trunk of one is the first layers, that of the other the rest, which goes on
    from what the first made. `draft` any number of times, `verify` and, where not all counts, `keep` follow each other.
    """

    def __init__(self, model: LM, layer: int | None) -> None:
        blocks = list(model.trunk.blocks)[:model.trunk.active]
        n = len(blocks)
        if not model.patching.can_split:
            raise UserError(f"--speculate: patching = {model.config.patching.kind} smooths the trunk's outputs by how sure the "
                            "ends of patches are, which takes the whole model; leave --speculate out")
        if not model.trunk.can_split:
            raise UserError("--speculate: patches don't all go through all layers of this model; leave --speculate out")
        if n < 2:
            raise UserError("--speculate needs a model of two layers or more")
        layer = max(1, n // 8) if layer is None else layer
        if not 1 <= layer < n:
            raise UserError(f"--draft-layer {layer}: it has to lie between 1 and {n - 1}, for this model has {n} layers")
        self._first, self._rest = _First(blocks[:layer]), _Rest(blocks[layer:])
        self._drafter, self._verifier = (model.with_trunk(part).eval() for part in (self._first, self._rest))
        self._draft_cache, self._cache = self._drafter.new_cache(1), self._verifier.new_cache(1)
        self._before, self._read, self._ends = list[Cache](), list[list[int]](), list[Tensor]()

    @torch.inference_mode()
    def draft(self, tokens: list[int]) -> Float[Tensor, " token"]:
        """The first layers' scores of what follows these tokens."""
        self._before.append(self._draft_cache.copy())
        output = self._drafter(self._inputs(tokens), self._draft_cache)
        self._read.append(tokens)
        self._ends.append(output.ends)
        return output.logits[0, -1].cpu()

    @torch.inference_mode()
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
    """The first layers. made: their outputs since that was last emptied."""

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.made: list[Tensor] = []

    def forward(self, x: Tensor, segment_ids: Tensor, positions: Tensor, cache: StackCache | None = None,
                lengths: Tensor | None = None, bidirectional: bool = False) -> StackOutput:
        found = super().forward(x, segment_ids, positions, cache, lengths, bidirectional)
        self.made.append(found.states)
        return found


class _Rest(Stack):
    """The other layers. given: what to go on from, in place of the input. again: take what the last call computed, of which the
    beginning is asked for once more.
    """

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.given: list[Tensor] = []
        self.again = False

    def forward(self, x: Tensor, segment_ids: Tensor, positions: Tensor, cache: StackCache | None = None,
                lengths: Tensor | None = None, bidirectional: bool = False) -> StackOutput:
        assert cache is not None
        n = x.shape[1]
        if not self.again:
            self._found, self._new = torch.cat(self.given, dim=1)[:, :n], []
            context = self._context(x, segment_ids, positions, cache)
            for depth in range(self.active):
                block: Any = self.blocks[depth]
                self._found, new = block(self._found, context, cache.layers[depth])
                self._new.append(new)
        for depth in range(self.active):
            block = self.blocks[depth]
            new = tuple(item[:, :n] for item in self._new[depth])
            cache.layers[depth] = block.update_cache(cache.layers[depth], new, lengths)
        self._advance(segment_ids, cache, lengths)
        return StackOutput(self._found[:, :n])
