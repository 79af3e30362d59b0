"""Constraints on the tokens of a generated text."""

from __future__ import annotations

import abc
import dataclasses

from jaxtyping import Bool
from torch import Tensor

from stlm.generate.utf8 import START, Utf8, run, state_after
from stlm.text.tokenizer import Tokenizer


class Constraint(abc.ABC):
    """The tokens that are allowed next. A constraint is immutable: `after` returns the constraint for the next token."""

    @abc.abstractmethod
    def allowed(self) -> Bool[Tensor, " token"]:
        """The tokens that are allowed next; none if the text has to end."""

    @abc.abstractmethod
    def after(self, token: int) -> Constraint:
        """The constraint after ``token``."""


@dataclasses.dataclass(frozen=True)
class DecodingConstraint(Constraint):
    """Valid UTF-8 within a budget. state: the state of the UTF-8 automaton; budget: the number of bytes that may still be
    generated; last: the last token.
    """

    tokenizer: Tokenizer
    table: Utf8
    state: int
    budget: int
    last: int

    @classmethod
    def after_prompt(cls, tokenizer: Tokenizer, prompt: bytes, tokens: list[int], budget: int) -> DecodingConstraint:
        """The constraint after a prompt, for ``budget`` more bytes. tokens: the tokens of the prompt."""
        return cls(tokenizer, Utf8.of(tokenizer), state_after(prompt), budget, tokens[-1])

    def allowed(self) -> Bool[Tensor, " token"]:
        mask = self.table.mask(self.state, self.budget)
        if self.tokenizer.mark is not None and self.last == self.tokenizer.mark:
            mask[self.tokenizer.mark] = False  # a mark ends a token of the text, so a second mark would end an empty one
        return mask & (self.budget > 0)

    def after(self, token: int) -> DecodingConstraint:
        piece = self.tokenizer.token_bytes[token]
        return dataclasses.replace(self, state=run(self.state, piece) or START, budget=self.budget - len(piece), last=token)
