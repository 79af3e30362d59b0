"""Self-speculative decoding: the first layers of the trunk draft, and the remaining layers verify (LayerSkip, Elhoushi et al.
2024, arXiv 2404.16710, section 4.3).

The first layers draft a few tokens, one pass for each. Then the remaining layers read the whole draft at once and continue from
the outputs of the first layers. Each token is drawn with the same Gumbel noise both times. The first token that differs is
replaced by the full model's token, and the rest of the draft is dropped. So the text is the same as in full decoding, up to
rounding: products of one row and of several rows add in a different order. Where two tokens have almost the same score, the
other token may be drawn (``python -m benchmarks speculation`` counts how often).
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
from stlm.model.scores import check_finite
from stlm.nn.stack import Hashes, RowMask, Stack, StackCache, StackOutput
from stlm.text.tokenizer import Tokenizer


def write_speculating(model: LM, tokenizer: Tokenizer, prompt: bytes, max_bytes: int, how: Sampling, seed: int = 0,
                      drafts: int = 6, layer: int | None = None) -> Iterator[bytes]:
    """Yield the same bytes as `writer.write`. The first ``layer`` layers (an eighth if None) draft ``drafts`` tokens at a time.
    """
    session = SpeculativeSession(model, tokenizer, how, drafts, layer)
    session.prefill([prompt], max_bytes, [seed])
    return stream(session)


class SpeculativeSession(Session):
    """A session of one text. Several tokens at a time are drafted and verified."""

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
        """Draft some tokens and verify them. At least one token is accepted."""
        text, tokenizer, speculator = self.texts[0], self.tokenizer, self._speculator
        self._noise += [gumbel_noise(text.generator, tokenizer.vocab_size) for _ in range(self._drafts - len(self._noise))]
        drafted, draft_constraint = list[int](), text.constraint
        while (len(drafted) < self._drafts and draft_constraint.allowed().any()
               and (not drafted or drafted[-1] != tokenizer.bos)):
            scores = speculator.draft([drafted[-1]] if drafted else self._unread[0])
            drafted.append(pick(scores, draft_constraint.allowed(), self.sampling, self._noise[len(drafted)]))
            draft_constraint = draft_constraint.after(drafted[-1])
        constraint = text.constraint
        for n, scores in enumerate(speculator.verify()):
            token = pick(scores, constraint.allowed(), self.sampling, self._noise[n])
            self._verified.append(self._step_of(token, scores))
            constraint = constraint.after(token)
            if token != drafted[n] or token == tokenizer.bos:
                break
        kept = len(self._verified)
        self._noise, self._unread = self._noise[kept:], [[self._verified[-1].token]]
        speculator.keep(kept)


class SelfSpeculator:
    """Two models that share all weights of one model. The trunk of the drafter is the first layers. The trunk of the verifier
    is the remaining layers, and continues from the outputs of the first layers. In each round, call `draft` any number of
    times, then `verify`, then `keep` with the number of accepted drafts.
    """

    def __init__(self, model: LM, layer: int | None) -> None:
        blocks = list(model.trunk.blocks)[:model.trunk.active]
        n = len(blocks)
        if not model.patching.can_split:
            raise UserError(f"--speculate: patching = {model.config.patching.kind} smooths the trunk's outputs by how sure the "
                            "ends of patches are, which takes the whole model; leave --speculate out")
        if not model.trunk.can_split:
            raise UserError(f"--speculate: the trunk of this model can't be cut in two, because of depth = "
                            f"{model.config.depth.kind}; leave --speculate out")
        if n < 2:
            raise UserError("--speculate needs a model of two layers or more")
        layer = max(1, n // 8) if layer is None else layer
        if not 1 <= layer < n:
            raise UserError(f"--draft-layer {layer}: it has to lie between 1 and {n - 1}, for this model has {n} layers")
        self._first, self._rest = _FirstLayers(blocks[:layer]), _RemainingLayers(blocks[layer:])
        self._drafter, self._verifier = (model.with_trunk(part).eval() for part in (self._first, self._rest))
        self._draft_cache, self._cache = self._drafter.new_cache(1), self._verifier.new_cache(1)
        self._before, self._drafted, self._ends = list[Cache](), list[list[int]](), list[Tensor]()

    @torch.inference_mode()
    def draft(self, tokens: list[int]) -> Float[Tensor, " token"]:
        """The drafter's scores of the token after these tokens."""
        self._before.append(self._draft_cache.copy())
        output = self._drafter(self._inputs(tokens), self._draft_cache)
        self._drafted.append(tokens)
        self._ends.append(output.ends)
        return check_finite(output.logits[0, -1].cpu())

    @torch.inference_mode()
    def verify(self) -> Float[Tensor, "n token"]:
        """The full model's scores after each draft since the last call."""
        self._verified, self._verified_ends, self._start = self._drafted, self._ends, self._cache.copy()
        self._rest.inputs, self._first.outputs = self._first.outputs, []
        self._drafts, self._before, self._drafted, self._ends = self._before, [], [], []
        output = self._verifier(self._verified_inputs(), self._cache)
        return check_finite(output.logits[0, len(self._verified[0]) - 1:].cpu())

    def keep(self, n: int) -> None:
        """Keep the first ``n`` verified drafts, and remove the others from both caches."""
        if n == len(self._verified):
            return
        self._draft_cache, self._cache = self._drafts[n], self._start
        self._rest.replay = True
        self._verifier(self._verified_inputs(n), self._cache)
        self._rest.replay = False

    def _verified_inputs(self, n: int | None = None) -> Inputs:
        """The inputs of the verified drafts, or of the first ``n``. The ends of patches are those that the drafter found."""
        tokens = [token for part in self._verified[:n] for token in part]
        return dataclasses.replace(self._inputs(tokens), ends=torch.cat(self._verified_ends[:n], dim=1))

    def _inputs(self, tokens: list[int]) -> Inputs:
        inputs: Int[Tensor, "1 n"] = torch.tensor([tokens], device=self._drafter.device)
        return Inputs(inputs)


class _FirstLayers(Stack):
    """The first layers. outputs: their outputs since the last verification."""

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor, segment_ids: Tensor, positions: Tensor, cache: StackCache | None = None,
                lengths: Tensor | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        found = super().forward(x, segment_ids, positions, cache, lengths, bidirectional)
        self.outputs.append(found.states)
        return found


class _RemainingLayers(Stack):
    """The remaining layers. inputs: the outputs of the first layers, which are read instead of the input. replay: reuse what
    the last call computed, for a call with the first of its positions.
    """

    def __init__(self, blocks: list[Any]) -> None:
        super().__init__(blocks)
        self.inputs: list[Tensor] = []
        self.replay = False

    def forward(self, x: Tensor, segment_ids: Tensor, positions: Tensor, cache: StackCache | None = None,
                lengths: Tensor | None = None, bidirectional: RowMask = None,
                hashes: Hashes = None) -> StackOutput:
        assert cache is not None
        n = x.shape[1]
        if not self.replay:
            self._found, self._new = torch.cat(self.inputs, dim=1)[:, :n], []
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
