"""Where a patch ends. The slot ``patching``.

The contract: ``ends[b, t]`` depends only on the tokens up to and including t. The first token of a row and the token that opens
a document (BOS) always end a patch, so that every position has a trunk output to read.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.room import Part, few_sizes, rounded_up
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer

M = TypeVar("M", bound=Memory)
PER_OCTAVE = 4  # sizes of the room for patches: real text takes 1 to 3 of them, and 3 to 7 % more patches (docs/log.md)


@dataclasses.dataclass(frozen=True)
class PatchingConfig(Slot):
    """The rule that divides tokens into patches."""

    package: ClassVar[str] = "stlm.model.patching"
    every_token: ClassVar[bool] = False
    """True if every token ends a patch, so that nothing is pooled."""

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, dim: int) -> Patching:
        """The rule for the tokens of ``tokenizer``. ``dim`` is the width of the encoder's vectors."""


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Where patches end. aux_losses: losses that train the rule, by name, one for each row."""

    ends: Bool[Tensor, "batch seq"]
    aux_losses: dict[str, Float[Tensor, " batch"]] = dataclasses.field(default_factory=dict)

    def dechunk(self, states: Float[Tensor, "batch patch dim"], at_ends: Callable[[Tensor], Tensor],
                before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch patch dim"]:
        """The trunk's outputs; a learned rule smooths them where ends are uncertain. at_ends: selects the ends of patches from
        [batch, seq], which gives [batch, patch]; before: the last output of an earlier call.
        """
        return states

    def straight_through(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        """The trunk's output at each token. A learned rule multiplies it by a factor of 1 that has a gradient."""
        return x


class Patching(nn.Module, abc.ABC, Generic[M]):
    """Decides where patches end, over whole rows or from a memory."""

    in_stream: bool = True
    """True if the rule reads tokens only. The source of batches then finds the ends, and ``encoded`` may be None."""
    can_split: bool = True
    """Whether the first layers of the trunk may run separately. False if the rule smooths the trunk's outputs."""
    flops_change: bool = False
    """Whether the size of patches changes in training."""

    def new_memory(self, batch: int, device: torch.device) -> M:
        """An empty memory for ``batch`` rows that are read piece by piece."""
        return Memory()  # type: ignore[return-value]

    def from_tokens(self, few: bool) -> Part | None:
        """A function that finds ``ends`` and ``n_patches`` on the CPU; None if that needs the model and not only tokens. few:
        whether few sizes shall occur.
        """
        if not self.in_stream:
            return None
        rule = copy.deepcopy(self).cpu()

        def find(tokens: Tensor, segment_ids: Tensor, positions: Tensor) -> dict[str, Any]:
            ends = rule(tokens, segment_ids, positions, None, None, None).ends
            most = int(ends.sum(dim=1).max())
            return {"ends": ends, "n_patches": min(few_sizes(most, PER_OCTAVE), ends.shape[1]) if few else rounded_up(most)}
        return find

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Called before the first step of a new run. ``load(run, module)`` fills a module with the weights of another run."""

    @abc.abstractmethod
    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: M | None,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        """Where patches end.

        positions: the position within the document, 0 for the token that opens it (or the row). encoded: the encoder's vectors.
        memory: None over whole rows; else the memory from `new_memory`, which is updated by the first ``lengths`` tokens.
        """
