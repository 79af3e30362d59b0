"""How weights are updated. The slot ``optim``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from stlm.config.bounds import Rate
from stlm.config.slot import Slot
from stlm.nn.sharded import locals_of
from stlm.nn.weights import ParameterInfo, Role, Successors

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class OptimConfig(Slot):
    """The optimizer and its learning rates."""

    package: ClassVar[str] = "stlm.optim"

    lr: Rate = 1e-3
    """Peak learning rate; auto: found at the start of the run by short trials."""

    @property
    def rate(self) -> float:
        """``lr`` as a number. ValueError if it is still to be found (`stlm.train.rates`)."""
        if isinstance(self.lr, str):
            raise ValueError("lr = auto: the rate has to be found first, which a run does at its start")
        return self.lr

    @classmethod
    def default_rate(cls) -> float:
        """The default of ``lr``."""
        return next(float(field.default) for field in dataclasses.fields(cls)  # type: ignore[arg-type]
                    if field.name == "lr")

    @abc.abstractmethod
    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        """The optimizers. Each trained parameter belongs to exactly one of them. Each parameter group stores its peak learning
        rate as ``peak_lr`` and, if it has weight decay, the largest one as ``peak_weight_decay``. The state of a parameter is
        all that an optimizer remembers, because only that is saved.
        """


def set_learning_rate(optimizers: Sequence[Optimizer], scale: float) -> None:
    """Set the learning rate of every group to ``scale`` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale


def scale_of(optimizers: Sequence[Optimizer]) -> float:
    """The present learning rate as a share of its peak, which is the same in all groups."""
    group = optimizers[0].param_groups[0]
    return float(group["lr"] / group["peak_lr"])


def set_weight_decay(optimizers: Sequence[Optimizer], scale: float) -> None:
    """Set the weight decay of every group that has any to ``scale`` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "peak_weight_decay" in group:
                group["weight_decay"] = group["peak_weight_decay"] * scale


def succeed(optimizers: Sequence[Optimizer], successors: Successors) -> None:
    """Give parameters a copy of what is remembered of those that they succeed."""
    for new, old in successors.items():
        for optimizer in optimizers:
            if old in optimizer.state:
                optimizer.state[new] = {name: value.clone() if isinstance(value, Tensor) else value
                                        for name, value in optimizer.state[old].items()}


def mult_of(local: float) -> Callable[[ParameterInfo], float]:
    """A function that gives a parameter's learning rate as a multiple of the trunk's. local: that of all other parts."""
    return lambda one: one.lr_mult * (1.0 if one.in_trunk else local)


def groups_by_rate(parameters: Sequence[ParameterInfo], lr_mult: Callable[[ParameterInfo], float], lr: float
                   ) -> list[dict[str, Any]]:
    """Groups of an optimizer, at least one: one for each multiple of ``lr``. Each stores its peak rate."""
    return [{"params": [one.parameter for one in parameters if lr_mult(one) == mult], "lr": lr * mult, "peak_lr": lr * mult}
            for mult in sorted({lr_mult(one) for one in parameters}) or [1.0]]


def move(weights: Sequence[Tensor], updates: Sequence[Tensor], group: dict[str, Any], cautious: bool,
         scale: float = 1.0) -> None:
    """Decay weights, then subtract ``scale`` times their updates, at the rates of their group."""
    decay = group["lr"] * group["weight_decay"]
    if cautious:
        decay_cautiously(weights, torch._foreach_mul(list(updates), 1.0), decay)
    else:
        torch._foreach_mul_(list(weights), 1 - decay)
    torch._foreach_add_(list(weights), list(updates), alpha=-group["lr"] * scale)


@torch.no_grad()
def decay_cautiously(weights: Sequence[Tensor], updates: Sequence[Tensor], amount: float) -> None:
    """Decay the weights by ``amount`` where they have the sign of what will be subtracted from them, or where nothing will be.
    So decay never works against an update (Chen et al. 2025, arXiv 2510.12402, algorithm 1). ``updates`` are overwritten.

    Five calls for all tensors together, and nothing new in memory.
    """
    weights, mask = locals_of(weights), locals_of(updates)
    torch._foreach_mul_(mask, weights)
    torch._foreach_sign_(mask)
    torch._foreach_add_(mask, 1.0)
    torch._foreach_clamp_max_(mask, 1.0)  # 1 where the product isn't below 0
    torch._foreach_addcmul_(weights, mask, weights, value=-amount)


def split_parameters(parameters: Sequence[ParameterInfo]
                     ) -> tuple[list[ParameterInfo], list[ParameterInfo], list[ParameterInfo]]:
    """(matrices, tables, vectors) of the trained parameters. The vectors include the gains of norms."""
    trained = [info for info in parameters if info.parameter.requires_grad]
    parts = {role: [info for info in trained if info.role is role] for role in (Role.MATRIX, Role.TABLE)}
    rest = [info for info in trained if info.role not in parts]
    return parts[Role.MATRIX], parts[Role.TABLE], rest
