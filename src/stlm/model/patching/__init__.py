"""Where a patch ends. The slot ``patching``; its kinds are ``none``, ``stride`` and ``whitespace``.

The contract: ``ends[b, t]`` is decided from the symbols up to and including t. The first symbol of a row and the
symbol that opens a document always end a patch, so that every later position has an answer of the trunk to use.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from jaxtyping import Bool, Int
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.text.codec import Codec


@dataclasses.dataclass(frozen=True)
class PatchingConfig(Slot):
    """The rule that cuts symbols into patches."""

    package: ClassVar[str] = "stlm.model.patching"

    @abc.abstractmethod
    def build(self, codec: Codec) -> Patching:
        """The rule for the symbols of ``codec``."""


class Patching(nn.Module, abc.ABC):
    """Decides where patches end, in one go or continuing from an earlier call."""

    start: tuple[int, ...] = ()
    """The state before a row's first symbol."""
    every_symbol: bool = False
    """True where every symbol ends a patch, so that there is nothing to pool."""

    @abc.abstractmethod
    def forward(self, symbols: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                state: Int[Tensor, "batch state"] | None = None
                ) -> tuple[Bool[Tensor, "batch seq"], Int[Tensor, "batch seq state"]]:
        """Ends, and the state after each position.

        positions: place within the document, 0 for the symbol that opens it (or the row).
        state: what an earlier call returned for the last symbol before these; ``start`` where None.
        """
