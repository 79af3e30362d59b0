"""How weights are moved. The slot ``optim``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from torch.optim import Optimizer

from stlm.config.slot import Slot
from stlm.nn.weights import ParameterInfo, Role


@dataclasses.dataclass(frozen=True)
class OptimConfig(Slot):
    """The optimizer and its learning rates."""

    package: ClassVar[str] = "stlm.optim"

    @abc.abstractmethod
    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        """Optimizers that between them own every parameter that is trained, once. Each group carries its peak rate as
        ``peak_lr``.
        """


def set_learning_rate(optimizers: list[Optimizer], scale: float) -> None:
    """Every group's learning rate at ``scale`` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale


def split_parameters(parameters: Sequence[ParameterInfo]
                     ) -> tuple[list[ParameterInfo], list[ParameterInfo], list[ParameterInfo]]:
    """(matrices, tables, vectors) of what is trained; gains of norms are among the vectors."""
    trained = [info for info in parameters if info.parameter.requires_grad]
    parts = {role: [info for info in trained if info.role is role] for role in (Role.MATRIX, Role.TABLE)}
    rest = [info for info in trained if info.role not in parts]
    return parts[Role.MATRIX], parts[Role.TABLE], rest
