"""Which layers of the trunk process which patches. The slot ``depth``; its kinds are ``full``, ``early_exit``, ``mixture``,
``residual`` and ``skip``.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from stlm.config.slot import Slot
from stlm.nn.stack import Block, Stack


@dataclasses.dataclass(frozen=True)
class DepthConfig(Slot):
    """Which layers process which patches."""

    package: ClassVar[str] = "stlm.model.depth"

    def check(self, model: Any) -> None:
        """ValueError, with the reason, if it doesn't fit the other parts of a ``ModelConfig``."""

    @abc.abstractmethod
    def build(self, blocks: Sequence[Block], dim: int) -> Stack:
        """The trunk that has these layers."""
