"""From vectors to scores of the next token. The slot ``head``; its kinds are ``tied``, ``untied``, ``late`` and
``parallel``.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.backbone import TrunkOutput
from stlm.nn.memory import Memory
from stlm.nn.weights import Successors

M = TypeVar("M", bound=Memory)


@dataclasses.dataclass(frozen=True)
class HeadConfig(Slot):
    """How a vector becomes scores of the next token."""

    package: ClassVar[str] = "stlm.model.head"

    def check(self, model: Any) -> None:
        """ValueError, with the reason, if this head doesn't fit the other parts of a ``ModelConfig``."""

    @abc.abstractmethod
    def build(self, dim: int, vocab_size: int) -> Head:
        """The head for vectors of ``dim``."""


class Head(nn.Module, abc.ABC, Generic[M]):
    """trunk_dim: the width of the trunk's outputs that the head needs."""

    reads_patch: bool = True
    """Whether a token's scores depend on the tokens of the patch in progress."""

    def __init__(self, trunk_dim: int) -> None:
        super().__init__()
        self.trunk_dim = trunk_dim

    def new_memory(self, batch: int, device: torch.device) -> M:
        """An empty memory for ``batch`` rows that are read piece by piece."""
        return Memory()  # type: ignore[return-value]

    def combine(self, encoded: Float[Tensor, "batch seq dim"], output: TrunkOutput, memory: M | None,
                lengths: Int[Tensor, " batch"] | None) -> Float[Tensor, "batch seq dim"]:
        """The input of the decoder. memory: None over whole rows, else updated."""
        return output.joined(encoded)

    def set_progress(self, progress: float, table: nn.Parameter) -> Successors:
        """Set the share of training that is over, 0 to 1, for heads that change in training. Returns the parameters that
        succeed others now.
        """
        return {}

    @abc.abstractmethod
    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        """The logits. ``table`` is the input table, for heads that share it."""


def capped(logits: Float[Tensor, "batch seq token"], cap: float) -> Float[Tensor, "batch seq token"]:
    """Logits that stay between -cap and cap (Gemma 2, arXiv 2408.00118, section 2); 0 means no cap."""
    return cap * (logits / cap).tanh() if cap else logits
