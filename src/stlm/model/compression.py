"""The contract of compression: a trained model in a smaller form. Its kinds are in the package `stlm.compress`."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from stlm.config.slot import Slot
from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class CompressionConfig(Slot):
    """How weights are stored. Both methods change a model in place, and leave it with the same names of tensors."""

    package: ClassVar[str] = "stlm.compress"

    @abc.abstractmethod
    def compress(self, model: LM) -> None:
        """Bring the weights of a trained model into the form that is stored."""

    @abc.abstractmethod
    def apply(self, model: LM) -> None:
        """Make a new model ready for stored weights: tensors of their shapes, with any values."""
