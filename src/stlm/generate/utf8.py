"""Text that is valid UTF-8 by construction.

The state of a small automaton determines which bytes may follow (Unicode standard, table 3-7: no overlong forms, no surrogates,
nothing above U+10FFFF). Running it over the bytes of every token gives, for each state, the allowed tokens and the states after
them. So it works for byte tokens and for BPE tokens.
"""

from __future__ import annotations

import dataclasses
import functools

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from stlm.text.tokenizer import Tokenizer

START = 0
# state: ranges of bytes that are allowed next, and the state after them
_RULES: dict[int, list[tuple[int, int, int]]] = {
    START: [(0x00, 0x7F, START), (0xC2, 0xDF, 1), (0xE0, 0xE0, 4), (0xE1, 0xEC, 2), (0xED, 0xED, 5), (0xEE, 0xEF, 2),
            (0xF0, 0xF0, 6), (0xF1, 0xF3, 3), (0xF4, 0xF4, 7)],
    1: [(0x80, 0xBF, START)],  # one more byte
    2: [(0x80, 0xBF, 1)],  # two more
    3: [(0x80, 0xBF, 2)],  # three more
    4: [(0xA0, 0xBF, 1)],  # after E0
    5: [(0x80, 0x9F, 1)],  # after ED
    6: [(0x90, 0xBF, 2)],  # after F0
    7: [(0x80, 0x8F, 2)],  # after F4
}
_MISSING = [0, 1, 2, 3, 2, 2, 3, 3]  # bytes that each state needs to complete its character
_NEXT = {state: {byte: to for low, high, to in rules for byte in range(low, high + 1)}
         for state, rules in _RULES.items()}


def run(state: int, data: bytes) -> int | None:
    """The state after ``data``; None if it isn't the beginning of valid UTF-8."""
    at: int | None = state
    for byte in data:
        at = _NEXT[at].get(byte) if at is not None else None
    return at


@dataclasses.dataclass(frozen=True)
class Utf8:
    """The tokens that keep a text valid. allowed: for each state; cost: bytes of the token and bytes to complete its last
    character.
    """

    allowed: Bool[Tensor, "state token"]
    cost: Int[Tensor, "state token"]
    token_bytes: list[bytes]

    @classmethod
    @functools.lru_cache(maxsize=8)
    def of(cls, tokenizer: Tokenizer) -> Utf8:
        """The table of a tokenizer. It is cached."""
        n = tokenizer.vocab_size
        allowed = torch.zeros(len(_RULES), n, dtype=torch.bool)
        cost = torch.zeros(len(_RULES), n, dtype=torch.long)
        for state in _RULES:
            for token, data in enumerate(tokenizer.token_bytes):
                after = run(state, data) if data else state if token == tokenizer.mark else None
                if after is not None:
                    allowed[state, token], cost[state, token] = True, len(data) + _MISSING[after]
        allowed[START, tokenizer.bos] = True  # a text may end after a complete character
        return cls(allowed, cost, tokenizer.token_bytes)

    def mask(self, state: int, budget: int) -> Bool[Tensor, " token"]:
        """The tokens that are allowed next, if at most ``budget`` more bytes may be generated."""
        return self.allowed[state] & (self.cost[state] <= budget)


def state_after(prompt: bytes) -> int:
    """The state after a prompt. Bytes that aren't valid UTF-8 are ignored."""
    return run(START, unfinished(prompt)) or START


def unfinished(data: bytes) -> bytes:
    """The first bytes of a character at the end of ``data``, if more bytes complete it; else nothing."""
    tails = (data[-back:] for back in range(1, min(4, len(data) + 1)))
    return next((tail for tail in tails if run(START, tail)), b"")
