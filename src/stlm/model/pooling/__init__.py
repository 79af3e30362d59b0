"""From the bytes of a patch to one vector. The slot ``pooling``; its kinds are ``last``, ``mean`` and ``attention``."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from stlm.config.slot import Slot
from stlm.model.layout import Layout


@dataclasses.dataclass(frozen=True)
class PoolingConfig(Slot):
    """How the bytes of a patch become one vector."""

    package: ClassVar[str] = "stlm.model.pooling"

    def check(self, model: Any) -> None:
        """ValueError, with the reason, if it doesn't fit the other parts of a ``ModelConfig``."""

    @abc.abstractmethod
    def build(self, dim: int) -> Pooling:
        """The pooling of vectors of ``dim``."""


class Pooling(nn.Module, abc.ABC):
    """A pure function of the bytes of each patch. For patches that don't exist, any finite output will do."""

    needs_whole_patch: bool = True
    """False if only the last byte of a patch is read, so that decoding need not store the other bytes."""

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "batch byte dim"], layout: Layout) -> Float[Tensor, "batch patch dim"]:
        """One vector for each patch."""
