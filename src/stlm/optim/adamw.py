"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with PyTorch's fused kernel.

If ``base_width`` is above 0, the learning rate of a matrix with n inputs is lr * base_width / n, so that one ``lr`` suits all
widths (Yang et al. 2022, arXiv 2203.03466, table 8). Its weight decay is weight_decay * base_width / n times this learning
rate, so it is proportional to 1 / n^2. Adaptors aren't treated as matrices. ``local_lr_mult`` is for the parts outside the
trunk, which read and write bytes (Hwang et al. 2025, H-Net, arXiv 2507.07955, section 2.3.3).

The fused kernel can't decay cautiously, so then the decay is done before it, in six calls for all matrices together. They read
and write the matrices several times: `python -m benchmarks optimizers` says what that costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch.optim import Optimizer

from stlm.config.bounds import Positive, Rate, ShareBelowOne, SizeOrNone, Weight
from stlm.nn.sharded import locals_of
from stlm.nn.weights import ParameterInfo
from stlm.optim import OptimConfig, decay_cautiously, groups_by_rate, mult_of, split_parameters


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """AdamW. Only matrices have weight decay."""

    lr: Rate = 2e-3
    """Peak learning rate; auto: found at the start of the run by short trials."""
    beta1: ShareBelowOne = 0.9
    """Decay of the mean of the gradients."""
    beta2: ShareBelowOne = 0.95
    """Decay of the mean of the squared gradients."""
    weight_decay: Weight = 0.1
    """Weight decay of matrices. A step decays them by this times the learning rate."""
    cautious: bool = False
    """Decay a weight only where its update makes it smaller too."""
    base_width: SizeOrNone = 0
    """The width for which ``lr`` was tuned. Wider matrices get a lower rate. 0: one rate for all."""
    local_lr_mult: Positive = 1.0
    """Learning rate of all parts outside the trunk, as a multiple of the trunk's."""

    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        matrices, tables, vectors = split_parameters(parameters)
        factors = {id(one.parameter): self.base_width / one.parameter.shape[1] if self.base_width else 1.0 for one in matrices}
        groups = [([one for one in matrices if factors[id(one.parameter)] == factor], self.weight_decay * factor)
                  for factor in sorted(set(factors.values()))]

        mult = mult_of(self.local_lr_mult)

        def lr_mult(one: ParameterInfo) -> float:
            return mult(one) * factors.get(id(one.parameter), 1.0)

        return [adamw([*groups, ([*tables, *vectors], 0.0)], self.rate, (self.beta1, self.beta2), lr_mult, self.cautious)]


def adamw(groups: Sequence[tuple[Sequence[ParameterInfo], float]], lr: float, betas: tuple[float, float],
          lr_mult: Callable[[ParameterInfo], float], cautious: bool = False) -> Optimizer:
    """PyTorch's fused AdamW. groups: parameters, and their weight decay; lr_mult: a parameter's learning rate as a multiple of
    ``lr``. Parameters with different multiples become different groups of the optimizer, and each stores its peak rate and its
    peak weight decay. cautious: as in `Config`.
    """
    by_rate = [{**part, "weight_decay": decay, "peak_weight_decay": decay}
               for group, decay in groups if group for part in groups_by_rate(group, lr_mult, lr)]
    return (CautiousAdamW if cautious else torch.optim.AdamW)(by_rate, lr=lr, betas=betas, eps=1e-10, fused=True)


class CautiousAdamW(torch.optim.AdamW):
    """AdamW whose decay is cautious. An update has the sign of the mean of the gradients, this step's included."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            if decay:
                self._decay(group, group["lr"] * decay)
            group["weight_decay"] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    @torch.no_grad()
    def _decay(self, group: dict, amount: float) -> None:
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        grads = locals_of(parameter.grad for parameter in moved)
        means = locals_of(self.state[parameter].get("exp_avg", parameter.grad) for parameter in moved)
        if moved:
            decay_cautiously(moved, torch._foreach_lerp(means, grads, 1 - group["betas"][0]), amount)
