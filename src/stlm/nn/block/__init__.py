"""Causal layers to build stacks from. Their kinds are ``attention``, ``conv`` and ``linear``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class BlockConfig(Slot):
    """One layer of a stack."""

    package: ClassVar[str] = "stlm.nn.block"

    def check(self, dim: int) -> None:
        """ValueError, saying what would be right, where vectors of ``dim`` don't suit it."""

    @abc.abstractmethod
    def build(self, dim: int) -> Block:
        """The layer for vectors of ``dim``."""
