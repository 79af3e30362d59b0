"""Muon: orthogonalised momentum for matrices (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

AdamW updates the other parameters (tables, gains, filters). Matrices of the same shape are orthogonalised together in one
batched product. Without this, Muon would be too slow for models this small.

Some fields make it cheaper. ``iterations``: fewer of them, with ``coefficients`` that need fewer. ``precision``: bf16 where a
processor computes faster in it. ``blocks``: each matrix is cut along its shorter side into blocks, and each block is
orthogonalised by itself, which needs about a ``blocks``-th of the arithmetic; every ``every``-th step the whole matrix is
(MuonBP: Khaled et al. 2025, arXiv 2510.16981, where blocks are what each device has). Where a block is one row, its update is
the normalised momentum of that row. ``normalize`` evens out the rows of an update at little cost (NorMuon: Li et al. 2025,
arXiv 2510.05491).

The update's scale already suits all widths, so there is no ``base_width`` as in `adamw`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from stlm.config.bounds import CountOrNone, Positive, Range, Rate, ShareBelowOne, Size, Weight
from stlm.nn.sharded import sharded_like, whole
from stlm.nn.weights import ParameterInfo
from stlm.optim import OptimConfig, groups_by_rate, move, mult_of, soap, split_parameters
from stlm.optim.adamw import adamw
from stlm.optim.orthogonal import Coefficients, Precision, orthogonal


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """Muon for matrices, AdamW for the rest."""

    lr: Rate = 0.02
    """Peak learning rate of the matrices; auto: found at the start of the run by short trials."""
    momentum: ShareBelowOne = 0.95
    """Decay of the momentum."""
    weight_decay: Weight = 0.01
    """Weight decay of matrices. A step decays them by this times the learning rate."""
    adamw_lr: Positive = 2e-3
    """Peak learning rate of all other parameters, which AdamW updates."""
    cautious: bool = False
    """Decay a weight only where its update makes it smaller too."""
    local_lr_mult: Positive = 1.0
    """Learning rates of all parts outside the trunk, as a multiple of the trunk's."""
    local: Literal["muon", "soap"] = "muon"
    """What updates the matrices outside the trunk. soap: Adam in the eigenbases of Shampoo (as --optim soap), at adamw_lr."""
    iterations: Annotated[int, Range(1, 100)] = 5
    """Iterations that make an update orthogonal."""
    coefficients: Coefficients = "muon"
    """Polynomials of these iterations: muon, the same in each, or polar_express, the best for each."""
    precision: Precision = "auto"
    """Number format of these iterations. auto: bf16 on CUDA GPUs, fp32 elsewhere."""
    blocks: Size = 1
    """Cut each matrix into this many blocks along its shorter side, and make each of them orthogonal by itself, which is
    cheaper. Where that side can't be cut so, there are as many blocks as go below that."""
    every: CountOrNone = 0
    """Steps from one update with whole matrices to the next, if they are cut into blocks (5 is usual). 0: never."""
    normalize: bool = False
    """Give each row of an update a size that goes by its mean square so far."""
    beta2: ShareBelowOne = 0.95
    """Decay of that mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every and self.blocks == 1:
            raise ValueError(f"every = {self.every} goes with blocks above 1; without blocks all updates are of whole matrices")

    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        matrices, tables, vectors = split_parameters(parameters)
        standard = [one for one in matrices if one.lr_mult == 1.0]  # Muon updates matrices of one group at one rate
        others = [one for one in matrices if one.lr_mult != 1.0]
        lr_mult = mult_of(self.local_lr_mult)
        rest = adamw([(others, self.weight_decay), ([*tables, *vectors], 0.0)], self.adamw_lr, (0.9, 0.95), lr_mult)
        if self.local == "muon":
            return [Muon(standard, lr_mult, self), rest]
        small, large = soap.fitting([one for one in standard if not one.in_trunk], soap.Config().largest)
        part = soap.Config(lr=self.adamw_lr, weight_decay=self.weight_decay, cautious=self.cautious)
        trunk = [one for one in standard if one.in_trunk]
        return [Muon([*trunk, *large], lr_mult, self), rest, soap.Soap(small, lr_mult, part)]


@functools.cache
def _divisor(size: int, most: int) -> int:
    """The largest number up to ``most`` that divides ``size``."""
    return max(n for n in range(1, min(size, most) + 1) if size % n == 0)


class Muon(Optimizer):
    """The update of each matrix is its Nesterov momentum, with all singular values set to about one.

    The update is scaled by sqrt(max(1, outputs / inputs)), so that one learning rate suits all shapes. Its norm is the same
    whether it is of whole matrices or of blocks, because they are cut along their shorter side. So one learning rate does for
    what MuonBP has two. State of a matrix: ``momentum``; ``step``, a count, if whole matrices and blocks take turns;
    ``row_square`` [rows, 1] with ``normalize``, which each process has whole.
    """

    def __init__(self, matrices: Sequence[ParameterInfo], lr_mult: Callable[[ParameterInfo], float], config: Config) -> None:
        if any(one.parameter.ndim != 2 for one in matrices):
            raise ValueError("Muon updates matrices only")
        self._config = config
        super().__init__(groups_by_rate(matrices, lr_mult, config.rate),
                         {"momentum": config.momentum, "weight_decay": config.weight_decay,
                          "peak_weight_decay": config.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape, self._blocks_of(parameter)].append(parameter)
            for (_, blocks), parameters in alike.items():
                self._step_together(parameters, blocks, group)

    def _blocks_of(self, parameter: nn.Parameter) -> int:
        """The number of blocks into which this step cuts a matrix."""
        blocks = _divisor(min(parameter.shape), self._config.blocks)
        if not self._config.every:
            return blocks
        count = self.state[parameter].setdefault("step", torch.zeros(()))  # on the CPU, so reading it waits for nothing
        count += 1
        return 1 if int(count - 1) % self._config.every == 0 else blocks

    def _step_together(self, parameters: list[nn.Parameter], blocks: int, group: dict) -> None:
        """Update matrices of one shape. Where processes hold parts of the weights, each computes all of the update, and keeps
        its part.
        """
        grads = [p.grad for p in parameters if p.grad is not None]
        weights: list[Tensor] = list(parameters)
        buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        lookahead = torch._foreach_lerp(grads, buffers, group["momentum"])
        stacked = torch.stack([whole(each) for each in lookahead])
        config, shape = self._config, parameters[0].shape
        updates = orthogonal(stacked, config.iterations, config.coefficients, config.precision, blocks).to(parameters[0].dtype)
        if config.normalize:
            updates = self._normalized(parameters, updates)
        parts = [sharded_like(update, weight) for update, weight in zip(updates, weights, strict=True)]
        move(weights, parts, group, config.cautious, scale=max(1.0, shape[0] / shape[1]) ** 0.5)

    def _normalized(self, parameters: list[nn.Parameter], updates: Float[Tensor, "n rows columns"]
                    ) -> Float[Tensor, "n rows columns"]:
        """Updates whose rows are divided by the root of their mean square so far, and whose norms are as before (NorMuon,
        algorithm 1).
        """
        squares = updates.square().mean(dim=2, keepdim=True)
        before = [whole(self.state[p]["row_square"]) if "row_square" in self.state[p] else torch.zeros_like(square)
                  for p, square in zip(parameters, squares, strict=True)]
        means = torch._foreach_lerp(before, list(squares), 1 - self._config.beta2)
        for parameter, mean in zip(parameters, means, strict=True):
            self.state[parameter]["row_square"] = mean
        found = updates / (torch.stack(means).sqrt() + 1e-10)
        return found * (updates.norm(dim=(1, 2), keepdim=True) / (found.norm(dim=(1, 2), keepdim=True) + 1e-10))
