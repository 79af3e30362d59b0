"""How weights are moved. The slot ``optim``; its kinds are ``adamw`` and ``muon``."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import nn
from torch.optim import Optimizer

from stlm.config.slot import Slot


@dataclasses.dataclass(frozen=True)
class OptimConfig(Slot):
    """The optimizer and its learning rates."""

    package: ClassVar[str] = "stlm.optim"

    @abc.abstractmethod
    def build(self, model: nn.Module) -> list[Optimizer]:
        """Optimizers that between them own every parameter once. Each group carries its peak rate as ``peak_lr``."""


def set_learning_rate(optimizers: list[Optimizer], scale: float) -> None:
    """Every group's learning rate at ``scale`` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale


def lr_mult_of(parameter: nn.Parameter) -> float:
    """A parameter's learning rate as a multiple of its group's; a layer that wants another one sets ``weight.lr_mult``."""
    return getattr(parameter, "lr_mult", 1.0)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices, tables, vectors): weights of linear layers; tables of tokens, used row by row; everything else."""
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    tables = {id(p) for name, p in model.named_parameters() if name.split(".")[-1] == "table" or ".table." in name}
    matrices: list[nn.Parameter] = []
    rows: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:  # frozen: part of the model, but not trained
            continue
        home = rows if id(parameter) in tables else matrices if id(parameter) in linear else vectors
        home.append(parameter)
    return matrices, rows, vectors
