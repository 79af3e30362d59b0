"""No patches: the trunk reads every token, as in a plain byte model or an ordinary BPE model."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """No patches: the trunk reads every token."""

    every_token = True

    def build(self, tokenizer: Tokenizer, dim: int) -> Everywhere:
        return Everywhere()


class Everywhere(Patching):
    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Memory | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        return Boundaries(torch.ones_like(tokens, dtype=torch.bool))
