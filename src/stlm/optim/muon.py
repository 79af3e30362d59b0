"""Muon: orthogonalised momentum for matrices (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

AdamW updates the other parameters (tables, gains, filters). Matrices of the same shape are orthogonalised together in one
batched product. Without this, Muon would be too slow for models this small.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from stlm.config.bounds import Positive, ShareBelowOne, Weight
from stlm.nn.sharded import sharded_like, whole
from stlm.nn.weights import ParameterInfo
from stlm.optim import OptimConfig, split_parameters
from stlm.optim.adamw import adamw


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """Muon for matrices, AdamW for the rest."""

    lr: Positive = 0.02
    """Peak learning rate of the matrices."""
    momentum: ShareBelowOne = 0.95
    """Decay of the momentum."""
    weight_decay: Weight = 0.01
    """Weight decay of matrices. A step decays them by this times the learning rate."""
    adamw_lr: Positive = 2e-3
    """Peak learning rate of all other parameters, which AdamW updates."""

    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        matrices, tables, vectors = split_parameters(parameters)
        standard = [one.parameter for one in matrices if one.lr_mult == 1.0]  # Muon updates all of its matrices at one rate
        others = [one for one in matrices if one.lr_mult != 1.0]
        rest = adamw([([*others, *tables, *vectors], 0.0)], self.adamw_lr, (0.9, 0.95), lambda one: one.lr_mult)
        return [Muon(standard, self.lr, self.momentum, self.weight_decay), rest]


class Muon(Optimizer):
    """The update of each matrix is its Nesterov momentum, with all singular values set to about one.

    The update is scaled by sqrt(max(1, outputs / inputs)), so that one learning rate suits all shapes.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        if any(p.ndim != 2 for p in params):
            raise ValueError("Muon updates matrices only")
        super().__init__(params, {"lr": lr, "peak_lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                self._step_together(parameters, shape, group)

    def _step_together(self, parameters: list[nn.Parameter], shape: torch.Size, group: dict) -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        weights: list[torch.Tensor] = list(parameters)
        buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        lookahead = torch._foreach_lerp(grads, buffers, group["momentum"])
        # where processes hold parts of the weights, each computes all of the update, and keeps its part
        updates = orthogonal(torch.stack([whole(each) for each in lookahead])).to(parameters[0].dtype)
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        parts = [sharded_like(update, weight) for update, weight in zip(updates, weights, strict=True)]
        torch._foreach_add_(weights, parts, alpha=-group["lr"] * scale)


def orthogonal(matrices: Float[Tensor, "n rows columns"], steps: int = 5) -> Float[Tensor, "n rows columns"]:
    """The nearest matrices with all singular values about one (0.7 to 1.2), by Newton-Schulz iterations of fifth order.

    The coefficients are the published ones of Muon. bfloat16 is precise enough. On GPUs it is much faster, but on CPUs it isn't
    always faster, least of all for small batched products.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
