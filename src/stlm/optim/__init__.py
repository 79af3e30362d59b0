"""How weights are updated. The slot ``optim``."""

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
        """The optimizers. Each trained parameter belongs to exactly one of them. Each parameter group stores its peak learning
        rate as ``peak_lr``.
        """


def set_learning_rate(optimizers: list[Optimizer], scale: float) -> None:
    """Set the learning rate of every group to ``scale`` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale


def split_parameters(parameters: Sequence[ParameterInfo]
                     ) -> tuple[list[ParameterInfo], list[ParameterInfo], list[ParameterInfo]]:
    """(matrices, tables, vectors) of the trained parameters. The vectors include the gains of norms."""
    trained = [info for info in parameters if info.parameter.requires_grad]
    parts = {role: [info for info in trained if info.role is role] for role in (Role.MATRIX, Role.TABLE)}
    rest = [info for info in trained if info.role not in parts]
    return parts[Role.MATRIX], parts[Role.TABLE], rest
