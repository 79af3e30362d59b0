"""Where a patch ends. The slot ``patching``.

The contract: ``ends[b, t]`` is decided from the tokens up to and including t. The first token of a row and the token that
opens a document (BOS) always end a patch, so that every later position has an output of the trunk to use.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer

M = TypeVar("M", bound=Memory)


@dataclasses.dataclass(frozen=True)
class PatchingConfig(Slot):
    """The rule that cuts tokens into patches."""

    package: ClassVar[str] = "stlm.model.patching"
    every_token: ClassVar[bool] = False
    """True where every token ends a patch, so that there is nothing to pool."""

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, dim: int) -> Patching:
        """The rule for the tokens of ``tokenizer``, which the encoder turns into vectors of ``dim``."""


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Where patches end. aux_losses: what learning the rule adds to the loss, by name."""

    ends: Bool[Tensor, "batch seq"]
    aux_losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def dechunk(self, states: Float[Tensor, "batch patch dim"], at_ends: Callable[[Tensor], Tensor],
                before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch patch dim"]:
        """The trunk's outputs, smoothed where ends are uncertain. at_ends: takes [batch, seq] to [batch, patch]; before: the
        last output of an earlier call.
        """
        return states

    def straight_through(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        """The trunk's output at each token, in a way that lets a learned rule have gradients."""
        return x


class Patching(nn.Module, abc.ABC, Generic[M]):
    """Decides where patches end, in one go or continuing from an earlier call."""

    in_stream: bool = True
    """True where tokens alone decide, at once: the data stream then finds the ends, and may hand in no vectors."""
    can_split: bool = True
    """Whether the first layers of a trunk may run by themselves: False where all outputs are mixed by how sure ends were."""
    flops_change: bool = False
    """Whether patches grow or shrink in the course of training."""

    def new_memory(self, batch: int, device: torch.device) -> M:
        """An empty memory for ``batch`` rows, for rows that are read piece by piece."""
        return Memory()  # type: ignore[return-value]

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Before a new run's first step: ``load(run, module)`` fills a module with the weights of another run."""

    @abc.abstractmethod
    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: M | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        """Where patches end.

        positions: place within the document, 0 for the token that opens it (or the row). encoded: the encoder's vectors.
        memory: None over whole rows; else what `new_memory` made, which is moved on past the first ``lengths`` tokens.
        """
