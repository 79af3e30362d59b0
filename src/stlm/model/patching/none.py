"""Every token is a patch of its own: flat bytes, or an ordinary BPE model."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """No patches: the trunk reads every token."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Everywhere:
        return Everywhere()


class Everywhere(Patching):
    every_token = True

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        return Boundaries(torch.ones_like(tokens, dtype=torch.bool))
