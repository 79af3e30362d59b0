"""Where a patch ends. The slot ``patching``; its kinds are ``none``, ``stride``, ``whitespace``, ``subword``, ``entropy`` and
``dynamic``.

The contract: ``ends[b, t]`` is decided from the tokens up to and including t. The first token of a row and the
token that opens a document always end a patch, so that every later position has an answer of the trunk to use.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class PatchingConfig(Slot):
    """The rule that cuts tokens into patches."""

    package: ClassVar[str] = "stlm.model.patching"

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, dim: int) -> Patching:
        """The rule for the tokens of ``tokenizer``, which the encoder turns into vectors of ``dim``."""


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Where patches end. chances: how likely an end was at each position, of rules that are learned; losses: what
    learning them adds to the loss.
    """

    ends: Bool[Tensor, "batch seq"]
    boundary_prob: Float[Tensor, "batch seq"] | None = None
    losses: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Patching(nn.Module, abc.ABC):
    """Decides where patches end, in one go or continuing from an earlier call."""

    every_token: bool = False
    """True where every token ends a patch, so that there is nothing to pool."""
    in_stream: bool = True
    """True where tokens alone decide, at once: the data stream then finds the ends, and may hand in no vectors."""

    def new_memory(self, batch: int, device: torch.device) -> Any:
        """A memory of nothing for ``batch`` rows, for rows that are read piece by piece."""
        return None

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Before a new run's first step: ``load(run, module)`` fills a module with the weights of another run."""

    @abc.abstractmethod
    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        """Where patches end.

        positions: place within the document, 0 for the token that opens it (or the row). encoded: the encoder's vectors.
        memory: None over whole rows; else what `new_memory` made, which is moved on past the first ``lengths`` tokens.
        """

    def dechunk(self, answers: Float[Tensor, "batch n dim"], boundary_prob: Float[Tensor, "batch n"],
               before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch n dim"]:
        """The trunk's answers to patches as bytes shall hear them, of rules with ``chances``: those at the patches' ends.
        ``before``: the last answer of an earlier call.
        """
        return answers

    def straight_through(self, heard: Float[Tensor, "batch seq dim"], cut: Boundaries) -> Float[Tensor, "batch seq dim"]:
        """The answer that each token hears, in a way that lets ``chances`` learn."""
        return heard
