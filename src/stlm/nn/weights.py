"""Linear layers, and the roles of a model's parameters.

A module declares the roles of its own parameters in ``roles`` and their learning rate in ``lr_mult``. ``in_trunk`` marks a
module that belongs to the trunk, with all its parts. Optimizers, counts and compression read these and never the names of
parameters.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import math
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Successors = dict[nn.Parameter, nn.Parameter]  # parameters that go on from others, by the new ones


class Role(enum.Enum):
    """MATRIX: weights that vectors are multiplied by. TABLE: rows that are looked up. NORM: gains. VECTOR: everything else,
    also matrices that don't grow with the width.
    """

    MATRIX = "matrix"
    TABLE = "table"
    NORM = "norm"
    VECTOR = "vector"


@dataclasses.dataclass(frozen=True)
class ParameterInfo:
    """One parameter, under its first name. lr_mult: its learning rate as a multiple of its group's."""

    name: str
    parameter: nn.Parameter
    role: Role
    in_trunk: bool
    lr_mult: float


def parameters_of(*modules: nn.Module) -> list[ParameterInfo]:
    """Every parameter of these modules once, in PyTorch's order."""
    found: dict[int, ParameterInfo] = {}
    for module in modules:
        for info in _walk(module, "", False):
            found.setdefault(id(info.parameter), info)
    return list(found.values())


def _walk(module: nn.Module, prefix: str, in_trunk: bool) -> Iterator[ParameterInfo]:
    in_trunk = in_trunk or getattr(module, "in_trunk", False)
    roles, lr_mult = getattr(module, "roles", {}), getattr(module, "lr_mult", 1.0)
    for name, parameter in module.named_parameters(recurse=False):
        yield ParameterInfo(prefix + name, parameter, roles.get(name, Role.VECTOR), in_trunk, lr_mult)
    for name, part in module.named_children():
        yield from _walk(part, f"{prefix}{name}.", in_trunk)


class Packed(nn.Module, abc.ABC):
    """Weights that are stored in another form, in buffers."""

    @abc.abstractmethod
    def unpack(self) -> Float[Tensor, "outputs inputs"]:
        """The matrix that the stored form represents."""


class Linear(nn.Linear):
    """A linear layer that reads its weights from a parameter, or from a packed form (`pack`)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False, role: Role = Role.MATRIX) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.packed: Packed | None = None
        self.roles, self.lr_mult = {"weight": role}, 1.0

    def pack(self, packed: Packed) -> None:
        """Read the weights from ``packed`` from now on. The layer can't be trained any more."""
        del self.weight
        self.packed = packed

    def matrix(self, rows: slice | None = None) -> Float[Tensor, "outputs inputs"]:
        """The weights, or some of their rows."""
        whole = self.weight if self.packed is None else self.packed.unpack()
        return whole if rows is None else whole[rows]

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(x, self.matrix(), self.bias)


def linear(inputs: int, outputs: int, zero: bool = False, role: Role = Role.MATRIX) -> Linear:
    """A linear layer without bias. Its weights start as normal random numbers with variance 1 / inputs.

    With ``zero`` they start at zero. The last layers of a block use it, so that every block starts as the identity (GPT-2 speed
    runs, 2024: part of a 1.47x step).
    """
    layer = Linear(inputs, outputs, role=role)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer


@torch.no_grad()
def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether no number is NaN or infinite. On a GPU this waits for the device once."""
    weights = [weight for weight in parameters if weight.is_floating_point() and weight.numel()]
    if not weights:
        return True
    return bool(torch.stack([norm.float() for norm in torch._foreach_norm(weights, math.inf)]).isfinite().all())
