"""Each patch is a word (SpaceByte, Slagle 2024, arXiv 2404.14408). It ends at the first space-like byte after other bytes.

A byte is space-like if it is neither a letter, nor a digit, nor a byte inside a UTF-8 character. ``cap`` limits the size of
patches where there is no such byte.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.config.bounds import Size
from stlm.errors import UserError
from stlm.model.layout import latest
from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer, parts_words


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """A patch ends at the first space or punctuation mark after a word, and after ``cap`` bytes at the latest."""

    cap: Size = 16
    """Largest number of bytes in a patch."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Whitespace:
        if any(len(token) > 1 for token in tokenizer.token_bytes):
            raise UserError("model.patching: whitespace needs the tokenizer bytes; with other tokenizers use "
                            "--model.patching none or stride")
        return Whitespace(self.cap, [parts_words(token) for token in tokenizer.token_bytes])


@dataclasses.dataclass
class WordMemory(Memory):
    """state: for each row, the number of tokens since the last end that isn't due to the cap, and whether the last token was
    space-like.
    """

    state: Int[Tensor, "batch 2"]


class Whitespace(Patching[WordMemory]):
    table: Tensor

    def __init__(self, cap: int, space_like: list[bool]) -> None:
        super().__init__()
        self.cap = cap
        self.register_buffer("table", torch.tensor(space_like), persistent=False)

    def new_memory(self, batch: int, device: torch.device) -> WordMemory:
        return WordMemory(torch.arange(2, device=device).expand(batch, -1))  # no bytes since an end, after a space

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: WordMemory | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        space = self.table.index_select(0, tokens.flatten()).view_as(tokens)
        state = (memory or self.new_memory(len(tokens), tokens.device)).state
        before = torch.cat([state[:, 1:].bool(), space[:, :-1]], dim=1)
        natural = (space & ~before) | (positions == 0)
        # The index, in this piece, of the last natural end (one that isn't due to the cap): up to each position, and before it.
        index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        origin = -1 - state[:, :1]
        last = torch.maximum(torch.where(natural, index, origin).cummax(dim=1).values, origin)
        earlier = torch.cat([origin, last[:, :-1]], dim=1)
        if memory is not None:
            memory.state = latest(torch.stack([index - last, space.long()], dim=2), lengths, state)
        return Boundaries(natural | ((index - earlier) % self.cap == 0))
