"""What may come next in a text that is being written."""

from __future__ import annotations

import abc
import dataclasses

from jaxtyping import Bool
from torch import Tensor

from stlm.generate.utf8 import START, Utf8, run, state_after
from stlm.text.tokenizer import Tokenizer


class Constraint(abc.ABC):
    """The tokens that are allowed next. It never changes: `after` gives the constraint behind another token."""

    @abc.abstractmethod
    def allowed(self) -> Bool[Tensor, " token"]:
        """The tokens that may come; none where the text has to end."""

    @abc.abstractmethod
    def after(self, token: int) -> Constraint:
        """The constraint when ``token`` has been written."""


@dataclasses.dataclass(frozen=True)
class DecodingConstraint(Constraint):
    """Valid UTF-8 within a budget. state: of the UTF-8 automaton; budget: bytes that may still be written; last: the token
    before.
    """

    tokenizer: Tokenizer
    table: Utf8
    state: int
    budget: int
    last: int

    @classmethod
    def after_prompt(cls, tokenizer: Tokenizer, prompt: bytes, tokens: list[int], budget: int) -> DecodingConstraint:
        """Ready to go on after a prompt, of which the tokens are given too, for ``budget`` bytes."""
        return cls(tokenizer, Utf8.of(tokenizer), state_after(prompt), budget, tokens[-1])

    def allowed(self) -> Bool[Tensor, " token"]:
        mask = self.table.mask(self.state, self.budget)
        if self.tokenizer.mark is not None and self.last == self.tokenizer.mark:
            mask[self.tokenizer.mark] = False  # a mark ends something, so two would stand for nothing
        return mask & (self.budget > 0)

    def after(self, token: int) -> DecodingConstraint:
        piece = self.tokenizer.token_bytes[token]
        return dataclasses.replace(self, state=run(self.state, piece) or START, budget=self.budget - len(piece), last=token)
