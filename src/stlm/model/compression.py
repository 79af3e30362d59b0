"""The base class of compression, which makes a trained model smaller. Its kinds are in the package `stlm.compress`."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class CompressionConfig(Slot):
    """How weights are stored. Both methods change a model in place. Neither changes the names of its tensors."""

    package: ClassVar[str] = "stlm.compress"

    @abc.abstractmethod
    def compress(self, model: LM) -> None:
        """Convert the weights of a trained model to the stored form."""

    @abc.abstractmethod
    def apply(self, model: LM) -> None:
        """Prepare a new model for loading stored weights: give it tensors of their shapes, with any values."""
