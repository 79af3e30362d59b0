"""Weights in bfloat16: half the size, and what a model is shipped in."""

from __future__ import annotations

import dataclasses

import torch

from stlm.model.compression import CompressionConfig
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class Config(CompressionConfig):
    """All weights in bfloat16."""

    def compress(self, model: LM) -> None:
        model.to(torch.bfloat16)

    def apply(self, model: LM) -> None:
        """Nothing to do: weights are widened when they're loaded."""
