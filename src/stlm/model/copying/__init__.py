"""Copying from earlier in the document. The slot ``copying``; its kinds are ``none`` and ``pointer``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.backbone import TrunkOutput
from stlm.model.room import Part
from stlm.model.scores import Scores
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer

M = TypeVar("M", bound=Memory)


@dataclasses.dataclass(frozen=True)
class CopyingConfig(Slot):
    """Whether, and how, the next token may be copied from earlier in the document."""

    package: ClassVar[str] = "stlm.model.copying"
    copies: ClassVar[bool] = True
    """False where nothing is copied."""

    @abc.abstractmethod
    def build(self, dim: int, tokenizer: Tokenizer) -> Copying:
        """The copying part for a decoder of width ``dim`` and the tokens of ``tokenizer``."""


class Copying(nn.Module, abc.ABC, Generic[M]):
    def new_memory(self, batch: int, device: torch.device) -> M:
        """An empty memory for ``batch`` rows that are read piece by piece."""
        return Memory()  # type: ignore[return-value]

    def from_tokens(self, few: bool) -> Part | None:
        """A function that finds ``n_pairs``; None if there are no pairs, or if nobody needs their number (``few`` is False)."""
        return None

    @abc.abstractmethod
    def forward(self, logits: Float[Tensor, "batch seq token"], hidden: Float[Tensor, "batch seq dim"], output: TrunkOutput,
                tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"], memory: M | None,
                lengths: Int[Tensor, " batch"] | None, n_pairs: int | None = None) -> Scores:
        """The head's logits, with evidence for single tokens. hidden: the input of the head; memory: None over whole rows, else
        updated; n_pairs: the room for pairs over whole rows, if `from_tokens` has found it.
        """
