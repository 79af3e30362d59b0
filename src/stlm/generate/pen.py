"""Where a text stands while it's written: what may come next, and how much."""

from __future__ import annotations

import dataclasses

from jaxtyping import Bool
from torch import Tensor

from stlm.generate.utf8 import START, Utf8, run, state_after
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class Pen:
    """state: of the UTF-8 automaton; budget: bytes that may still be written; last: the symbol before."""

    codec: Codec
    table: Utf8
    state: int
    budget: int
    last: int

    @classmethod
    def after_prompt(cls, codec: Codec, prompt: bytes, symbols: list[int], budget: int) -> Pen:
        """Ready to go on after a prompt, of which the symbols are given too, for ``budget`` bytes."""
        return cls(codec, Utf8.of(codec), state_after(prompt), budget, symbols[-1])

    def allowed(self) -> Bool[Tensor, " symbol"]:
        """The symbols that keep the text valid and within its budget; none where it's full."""
        mask = self.table.mask(self.state, self.budget)
        if self.codec.mark is not None and self.last == self.codec.mark:
            mask[self.codec.mark] = False  # a mark ends something, so two would stand for nothing
        return mask & (self.budget > 0)

    def after(self, symbol: int) -> Pen:
        """The same when ``symbol`` has been written."""
        piece = self.codec.symbol_bytes[symbol]
        return dataclasses.replace(self, state=run(self.state, piece) or START, budget=self.budget - len(piece), last=symbol)
