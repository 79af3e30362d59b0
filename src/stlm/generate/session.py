"""A decoding session: a model reads and continues several texts at the same time, token by token.

Everything that generates or reads a text step by step uses it: generation, speculation, packing, evaluation that generates, and
the speed of decoding. The trunk runs once for each patch. The other parts run for each token, with small caches.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stlm.data.batch import Inputs
from stlm.generate.constraint import Constraint, DecodingConstraint
from stlm.generate.sampling import Sampling, gumbel_noise, log_probability, pick
from stlm.model.lm import LM, Cache
from stlm.model.scores import check_finite
from stlm.text.tokenizer import Tokenizer

CHUNK = 2048  # tokens of a prompt that are read at once, so that long prompts need no more memory


@dataclasses.dataclass(frozen=True)
class Step:
    """One more token of a text, its bytes, and the natural logarithm of its probability under the model."""

    token: int
    data: bytes
    log_prob: float


@dataclasses.dataclass
class Text:
    """A text of a session. written: its bytes after the prompt, up to a stop string; log_prob: the sum over its tokens."""

    constraint: Constraint
    generator: torch.Generator
    stops: tuple[bytes, ...]
    written: bytes = b""
    log_prob: float = 0.0
    ended: bool = False

    def take(self, step: Step, bos: int) -> None:
        """Add a token. The text ends at BOS, or where a stop string is complete."""
        self.log_prob += step.log_prob
        if step.token == bos:
            self.ended = True
            return
        self.constraint = self.constraint.after(step.token)
        self.written += step.data
        found = [start for stop in self.stops if (start := self.written.find(stop)) >= 0]
        if found:
            self.written, self.ended = self.written[:min(found)], True

    def copy(self) -> Text:
        """A copy of the text, which draws the same tokens from here on."""
        other = copy.copy(self)
        other.generator = torch.Generator().manual_seed(0)
        other.generator.set_state(self.generator.get_state())
        return other


@dataclasses.dataclass
class Mark:
    """A state of a session, for `Session.rewind`."""

    texts: list[Text]
    cache: Cache | None
    rows: list[int]
    unread: list[list[int]]
    logits: Tensor | None


class Session:
    """Several texts, each in its own row. A session of n texts gives the same results as n sessions of one text.

    To generate, `prefill` prompts and then `step`, which draws a token for each text that hasn't ended. To read given tokens,
    `feed` them and read `logits`.
    """

    def __init__(self, model: LM, tokenizer: Tokenizer, sampling: Sampling | None = None) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling or Sampling()
        self.texts: list[Text] = []
        self._cache: Cache | None = None
        self._rows: list[int] = []  # the texts that have a row in the cache
        self._unread: list[list[int]] = []
        self._logits: Tensor | None = None  # [row of the cache, token], after the last token that was read

    def prefill(self, prompts: Sequence[bytes], max_bytes: int, seeds: Sequence[int] | None = None,
                stops: Sequence[bytes] = (), constraints: Sequence[Constraint] | None = None) -> None:
        """Begin a text after each prompt. max_bytes: the largest number of bytes to generate; seeds: 0, 1, 2, ... if None.

        Without ``constraints``, the generated text is valid UTF-8 as a continuation of the prompt, and never stops inside a
        character.
        """
        tokens = [[self.tokenizer.bos, *self.tokenizer.encode(prompt).tolist()] for prompt in prompts]
        if constraints is None:
            constraints = [DecodingConstraint.after_prompt(self.tokenizer, prompt, read, max_bytes)
                           for prompt, read in zip(prompts, tokens, strict=True)]
        seeds = range(len(prompts)) if seeds is None else seeds
        kept = tuple(stop for stop in stops if stop)
        self.texts = [Text(constraint, torch.Generator().manual_seed(seed), kept)
                      for constraint, seed in zip(constraints, seeds, strict=True)]
        self.feed(tokens)

    @property
    def done(self) -> bool:
        """Whether all texts have ended."""
        return all(text.ended for text in self.texts)

    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """Add given tokens to each row. `logits` reads them. The first call determines the number of rows."""
        if not self._unread:
            self._unread, self._rows = [[] for _ in tokens], list(range(len(tokens)))
        for row, more in enumerate(tokens):
            self._unread[row].extend(more)

    @torch.inference_mode()
    def logits(self) -> Float[Tensor, "row token"]:
        """Read the tokens that are pending. Returns the scores of the next token of each row that hasn't ended, in order."""
        self._drop_ended()
        while any(self._unread[row] for row in self._rows):
            pieces = [self._unread[row][:CHUNK] for row in self._rows]
            for row in self._rows:
                self._unread[row] = self._unread[row][CHUNK:]
            self._logits = check_finite(self._read(pieces))
        assert self._logits is not None, "a session needs tokens before it has scores"
        return self._logits

    def step(self) -> list[Step | None]:
        """Draw one more token for each text; None for texts that have ended."""
        steps: list[Step | None] = [None] * len(self.texts)
        allowed = self._allowed()
        if not allowed:
            return steps
        for row, scores in zip(list(allowed), self.logits().cpu(), strict=True):
            text = self.texts[row]
            noise = gumbel_noise(text.generator, len(scores))
            steps[row] = step = self._step_of(pick(scores, allowed[row], self.sampling, noise), scores)
            text.take(step, self.tokenizer.bos)
            self._unread[row].append(step.token)
        return steps

    def fork(self, rows: Sequence[int]) -> Session:
        """A session that continues from some rows of this session. A row may be listed several times."""
        self.logits()
        other = copy.copy(self)
        other.texts = [self.texts[row].copy() for row in rows] if self.texts else []
        other._unread = [[] for _ in rows]
        other._rows = [new for new, row in enumerate(rows) if row in self._rows]
        index = torch.tensor([self._rows.index(rows[new]) for new in other._rows], dtype=torch.long,
                             device=self.model.device)
        with torch.inference_mode():
            assert self._cache is not None and self._logits is not None
            other._cache, other._logits = self._cache.select(index), self._logits.index_select(0, index)
        return other

    def mark(self) -> Mark:
        """The current state, for `rewind`."""
        cache = None if self._cache is None else self._cache.copy()
        return Mark([text.copy() for text in self.texts], cache, list(self._rows), [list(row) for row in self._unread],
                    self._logits)

    def rewind(self, mark: Mark) -> None:
        """Go back to the state of a mark. A mark can be used any number of times."""
        self.texts, self._rows = [text.copy() for text in mark.texts], list(mark.rows)
        self._cache = None if mark.cache is None else mark.cache.copy()
        self._unread, self._logits = [list(row) for row in mark.unread], mark.logits

    def _allowed(self) -> dict[int, Bool[Tensor, " token"]]:
        """The allowed tokens of each text that continues. A text without any ends here."""
        found = {}
        for row, text in enumerate(self.texts):
            if not text.ended:
                found[row] = text.constraint.allowed()
                text.ended = not bool(found[row].any())
        return {row: mask for row, mask in found.items() if not self.texts[row].ended}

    def _step_of(self, token: int, scores: Float[Tensor, " token"]) -> Step:
        return Step(token, self.tokenizer.token_bytes[token], log_probability(scores, token))

    def _drop_ended(self) -> None:
        """Remove the rows of texts that have ended from the cache."""
        running = [index for index, row in enumerate(self._rows) if not (self.texts and self.texts[row].ended)]
        if len(running) == len(self._rows):
            return
        self._rows = [self._rows[index] for index in running]
        index = torch.tensor(running, device=self.model.device)
        if self._cache is not None and self._logits is not None:
            self._cache, self._logits = self._cache.select(index), self._logits.index_select(0, index)

    def _read(self, pieces: list[list[int]]) -> Float[Tensor, "row token"]:
        """Read a piece of each row. Returns the scores after its last token, or the old scores for a row with an empty piece.
        """
        if self._cache is None:
            self._cache = self.model.new_cache(len(pieces))
        sizes = [len(piece) for piece in pieces]
        if min(sizes) == max(sizes):
            return self.model(Inputs(torch.tensor(pieces, device=self.model.device)), self._cache).logits[:, -1]
        rows = np.full((len(pieces), max(sizes)), self.tokenizer.bos)
        for row, piece in zip(rows, pieces, strict=True):
            row[:len(piece)] = piece
        lengths = torch.tensor(sizes, device=self.model.device)
        found = self.model(Inputs(torch.from_numpy(rows).to(self.model.device), lengths=lengths), self._cache).logits
        last = found[torch.arange(len(pieces), device=found.device), (lengths - 1).clamp(min=0)]
        return last if self._logits is None else torch.where((lengths > 0)[:, None], last, self._logits)
