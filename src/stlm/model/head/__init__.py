"""Vectors to scores of the next token. The slot ``head``; its kinds are ``tied``, ``untied``, ``multi_byte`` and
``parallel``.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.layout import TrunkOutput


@dataclasses.dataclass(frozen=True)
class HeadConfig(Slot):
    """How the next token's scores are read."""

    package: ClassVar[str] = "stlm.model.head"

    def check(self, model: Any) -> None:
        """ValueError, with the reason, where this head can't go with the other parts of a ``ModelConfig``."""

    @abc.abstractmethod
    def build(self, dim: int, vocab_size: int) -> Head:
        """The head for vectors of ``dim``."""


class Head(nn.Module, abc.ABC):
    answer_dim: int | None = None
    """Width of the trunk's answers that the head unfolds by itself, in place of a decoder; None where it reads the decoder."""

    def own_table(self) -> nn.Module | None:
        """Its table of tokens; None where it reads the input table."""
        return None

    @abc.abstractmethod
    def forward(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
                ) -> Float[Tensor, "batch seq token"]:
        """Logits; ``table`` is the input table, for heads that share it."""

    def unfold(self, answers: TrunkOutput, since: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq dim"]:
        """What to read scores from, by the trunk's answers alone; ``since``: tokens since the patch that is answered ended."""
        raise TypeError(f"{type(self).__name__} reads the decoder: it has no answer_dim")

    def ahead(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"]
              ) -> Float[Tensor, "batch seq n token"] | None:
        """Logits of the tokens after the next one, for training; None from heads that predict the next one only."""
        return None
