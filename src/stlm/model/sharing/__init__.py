"""Which layers of the trunk share which weights. The slot ``sharing``; its kinds are ``none``, ``ffn``, ``adjacent``, ``cycle``
and ``all``.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.bounds import ShareBelowOne, SizeOrNone
from stlm.config.slot import Slot
from stlm.nn.block import BlockConfig
from stlm.nn.lora import AdaptedBlock
from stlm.nn.stack import Block


@dataclasses.dataclass(frozen=True)
class SharingConfig(Slot):
    """Which layers share weights."""

    package: ClassVar[str] = "stlm.model.sharing"

    def check(self, layers: int, block: BlockConfig) -> None:
        """ValueError, with what would be right, if this number of layers, or this kind of block, can't be shared in this way.
        """

    @abc.abstractmethod
    def build(self, block: BlockConfig, dim: int, layers: int) -> list[Block]:
        """The layers, from first to last. Layers that share all weights are the same module."""

    @property
    def flops_change(self) -> bool:
        """Whether the number of layers that run changes in training."""
        return False

    @property
    def leaves_out(self) -> bool:
        """Whether a step of training may leave out some weights, so that they get no gradient."""
        return False

    def layers_at(self, progress: float, layers: int) -> int:
        """How many layers run when the share ``progress`` of training is over."""
        return layers

    def of_trained(self) -> SharingConfig:
        """The sharing of a run that starts from weights trained with this one: all layers run from its first step."""
        return self


@dataclasses.dataclass(frozen=True)
class AdaptedConfig(SharingConfig):
    """Sharing in which each use of a shared part may have some weights of its own."""

    rank: SizeOrNone = 0
    """Rank of the small adaptor (LoRA) that each layer adds to a shared matrix. 0: none."""
    own_norms: bool = False
    """Give each layer its own norms."""
    own_scales: bool = False
    """Give each layer its own factor for the output of the shared part."""

    @property
    def adapted(self) -> bool:
        return self.rank > 0 or self.own_norms or self.own_scales

    @property
    def leaves_out(self) -> bool:
        return self.adapted  # norms of the shared part that each use has of its own, and layers that don't run yet


@dataclasses.dataclass(frozen=True)
class BlocksConfig(AdaptedConfig):
    """Whole blocks are shared."""

    @abc.abstractmethod
    def owners(self, layers: int) -> list[int]:
        """For each layer, the number of the block that it uses, counted from 0."""

    def build(self, block: BlockConfig, dim: int, layers: int) -> list[Block]:
        owners = self.owners(layers)
        blocks = [block.build(dim) for _ in range(max(owners) + 1)]
        return [AdaptedBlock(blocks[n], self.rank, self.own_norms, self.own_scales) if self.adapted else blocks[n]
                for n in owners]


@dataclasses.dataclass(frozen=True)
class LoopsConfig(BlocksConfig):
    """The trunk runs through all blocks several times, from the first to the last."""

    loop_from: ShareBelowOne = 0.0
    """Until this share of training is over, the trunk goes through its blocks only once (0 to 1)."""

    @property
    def flops_change(self) -> bool:
        return self.loop_from > 0

    def layers_at(self, progress: float, layers: int) -> int:
        return len(set(self.owners(layers))) if progress < self.loop_from else layers

    def of_trained(self) -> LoopsConfig:
        return dataclasses.replace(self, loop_from=0.0)
