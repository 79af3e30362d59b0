"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), PyTorch's fused kernel.

With ``base_width`` above 0, a matrix of n inputs learns at lr * base_width / n, so that one ``lr`` serves all widths (Yang et
al. 2022, arXiv 2203.03466, table 8). It decays by weight_decay * base_width / n of that, so by 1 / n^2 in all. Adaptors aren't
matrices here. ``local_lr_mult`` is for the parts that read and write bytes (Hwang et al. 2025, H-Net, arXiv 2507.07955,
section 2.3.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from stlm.optim import OptimConfig, lr_mult_of, split_parameters


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """AdamW. Only matrices have weight decay."""

    lr: float = 2e-3
    """Peak learning rate."""
    beta1: float = 0.9
    """Decay of the mean of the gradients."""
    beta2: float = 0.95
    """Decay of the mean of the squared gradients."""
    weight_decay: float = 0.1
    """Weight decay of matrices. A step decays them by this times the learning rate."""
    base_width: int = 0
    """The width for which ``lr`` was tuned. Wider matrices get a lower rate. 0: one rate for all."""
    local_lr_mult: float = 1.0
    """Learning rate of all parts outside the trunk, as a multiple of the trunk's."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr = {self.lr}: it has to be above 0")
        if self.base_width < 0:
            raise ValueError(f"base_width = {self.base_width}: it has to be 0 or more")
        if self.local_lr_mult <= 0:
            raise ValueError(f"local_lr_mult = {self.local_lr_mult}: it has to be above 0")

    def build(self, model: nn.Module) -> list[Optimizer]:
        matrices, tables, vectors = split_parameters(model)
        by_width = {id(matrix): self.base_width / matrix.shape[1] if self.base_width else 1.0 for matrix in matrices}
        groups: list[dict] = [{"params": [matrix for matrix in matrices if by_width[id(matrix)] == factor],
                               "weight_decay": self.weight_decay * factor} for factor in sorted(set(by_width.values()))]
        groups.append({"params": [*tables, *vectors], "weight_decay": 0.0})
        trunk = {id(parameter) for name, parameter in model.named_parameters() if name.startswith("trunk.")}

        def rate(parameter: nn.Parameter) -> float:
            stage = 1.0 if id(parameter) in trunk else self.local_lr_mult
            return lr_mult_of(parameter) * by_width.get(id(parameter), 1.0) * stage

        return [adamw(groups, self.lr, (self.beta1, self.beta2), rate)]


def adamw(groups: list[dict], lr: float, betas: tuple[float, float],
          lr_mult_of: Callable[[nn.Parameter], float] = lr_mult_of) -> Optimizer:
    """PyTorch's fused AdamW over ``groups``, each marked with its peak rate; parameters with a rate of their own, a multiple of
    ``lr``, apart.
    """
    parted = [{**group, "params": [p for p in group["params"] if lr_mult_of(p) == rate], "peak_lr": lr * rate}
              for group in groups for rate in sorted({lr_mult_of(p) for p in group["params"]})]
    return torch.optim.AdamW(parted, lr=lr, betas=betas, eps=1e-10, fused=True)
