"""Weights in bfloat16: half the size of float32. This is the usual form of a published model."""

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
        """Do nothing: weights become float32 when they are loaded."""
