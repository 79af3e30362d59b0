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
    has_values: ClassVar[bool] = False
    """Whether it has attention, to whose values something can be added."""

    def check(self, dim: int) -> None:
        """ValueError where vectors of ``dim`` don't fit, as ``250 doesn't fit 4 heads: use a multiple of 8``. `check_width`
        puts the field's name before it.
        """

    @abc.abstractmethod
    def build(self, dim: int) -> Block:
        """The layer for vectors of ``dim``."""


def check_width(name: str, width: int, block: BlockConfig) -> None:
    """`BlockConfig.check` of a width, with the name of its field in the message."""
    try:
        block.check(width)
    except ValueError as error:
        raise ValueError(f"{name} = {error}") from None


def check_multiple(width: int, of: int, heads: int) -> None:
    """ValueError, with the nearest widths that fit, where ``heads`` need a multiple of ``of``."""
    if width % of:
        below = width // of * of
        near = " or ".join(str(multiple) for multiple in (below, below + of) if multiple)
        raise ValueError(f"{width} doesn't fit {heads} heads: use a multiple of {of}, such as {near}")
