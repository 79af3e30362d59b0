"""Blocks that look back a few positions only. The slot ``local``; its kinds are ``conv`` and ``window``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class LocalConfig(Slot):
    """One block of the byte encoder or decoder."""

    package: ClassVar[str] = "stlm.nn.local"

    @abc.abstractmethod
    def build(self, dim: int) -> Block:
        """The block for vectors of ``dim``."""
