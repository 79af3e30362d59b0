"""Scores that also weigh what stands earlier in the document. The slot ``copying``; its kinds are ``none`` and ``pointer``."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.layout import TrunkOutput
from stlm.model.scores import Scores
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class CopyingConfig(Slot):
    """Whether, and how, the next token may be copied from earlier in the document."""

    package: ClassVar[str] = "stlm.model.copying"

    @abc.abstractmethod
    def build(self, dim: int, tokenizer: Tokenizer) -> Copying:
        """The part for a decoder of width ``dim`` over the tokens of ``tokenizer``."""


class Copying(nn.Module, abc.ABC):
    def new_memory(self, batch: int, device: torch.device) -> Any:
        """A memory of nothing for ``batch`` rows, for rows that are read piece by piece."""
        return None

    @abc.abstractmethod
    def forward(self, logits: Float[Tensor, "batch seq token"], hidden: Float[Tensor, "batch seq dim"], answers: TrunkOutput,
                tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"], memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Scores:
        """The head's logits, and what adds to them. ``hidden`` is what the head read them from; ``memory`` (None over whole
        rows) is moved on.
        """
