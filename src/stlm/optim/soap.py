"""SOAP: Adam in the eigenbases of Shampoo (Vyas et al. 2024, arXiv 2409.11321, algorithm 3).

Of each matrix, the means of G G^T and of G^T G are kept. In the basis of their eigenvectors a gradient's entries are nearly
independent, so there Adam's division by root mean squares comes close to a division by curvature. The bases are renewed every
``every`` steps by one step of orthogonal iteration (a product and a QR decomposition). A side longer than ``largest`` keeps its
own basis (section 4 there); a matrix with two such sides is left to AdamW, as are tables, gains and filters. Matrices of the
same shape are computed together in batched products, because the number of calls is what costs in models this small.

The first step only begins the means and the bases: in a basis made of this very gradient all others of its entries are zero.
Where processes hold parts of the weights, each has the whole state of each matrix.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from stlm.config.bounds import Count, Positive, Rate, ShareBelowOne, Size, Weight
from stlm.nn.sharded import sharded_like, whole
from stlm.nn.weights import ParameterInfo
from stlm.optim import OptimConfig, groups_by_rate, move, mult_of, split_parameters
from stlm.optim.adamw import adamw

EPS = 1e-8
TIES = 1e-6  # relative to the mean of the eigenvalues
SQUARE = {"left": "left_square", "right": "right_square"}  # names of states, the same objects in all: so files are the same
BASIS = {"left": "left_basis", "right": "right_basis"}


@dataclasses.dataclass(frozen=True)
class Config(OptimConfig):
    """SOAP for matrices, AdamW for the rest."""

    lr: Rate = 3e-3
    """Peak learning rate; auto: found at the start of the run by short trials."""
    beta1: ShareBelowOne = 0.95
    """Decay of the mean of the gradients of matrices."""
    beta2: ShareBelowOne = 0.95
    """Decay of the means of all squares."""
    weight_decay: Weight = 0.1
    """Weight decay of matrices. A step decays them by this times the learning rate."""
    cautious: bool = False
    """Decay a weight of a matrix only where its update makes it smaller too."""
    local_lr_mult: Positive = 1.0
    """Learning rate of all parts outside the trunk, as a multiple of the trunk's."""
    every: Count = 10
    """Steps after which the bases are renewed."""
    largest: Size = 512
    """The longest side of a matrix that gets a basis."""

    def build(self, parameters: Sequence[ParameterInfo]) -> list[Optimizer]:
        matrices, tables, vectors = split_parameters(parameters)
        small, large = fitting(matrices, self.largest)
        lr_mult = mult_of(self.local_lr_mult)
        rest = [(large, self.weight_decay), ([*tables, *vectors], 0.0)]
        return [Soap(small, lr_mult, self),
                adamw(rest, self.rate, (0.9, self.beta2), lr_mult, self.cautious)]


def fitting(matrices: Sequence[ParameterInfo], largest: int) -> tuple[list[ParameterInfo], list[ParameterInfo]]:
    """The matrices with a side of at most ``largest``, and the others."""
    small = [one for one in matrices if min(one.parameter.shape) <= largest]
    return small, [one for one in matrices if min(one.parameter.shape) > largest]


class Soap(Optimizer):
    """State of a matrix: ``step``, a count; ``mean``, of its gradients; ``square``, of their squares in the basis; and for each
    side with a basis, ``left`` (of the outputs) and ``right`` (of the inputs): ``left_square`` [rows, rows], the mean of G G^T,
    and ``left_basis`` [rows, rows], whose columns are about its eigenvectors, those with large eigenvalues first.
    """

    def __init__(self, matrices: Sequence[ParameterInfo], lr_mult: Callable[[ParameterInfo], float], config: Config) -> None:
        self._config = config
        super().__init__(groups_by_rate(matrices, lr_mult, config.rate),
                         {"weight_decay": config.weight_decay, "peak_weight_decay": config.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[tuple[torch.Size, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    count = self.state[parameter].setdefault("step", torch.zeros(()))  # on the CPU: reading waits for nothing
                    alike[parameter.shape, int(count)].append(parameter)
                    count += 1
            for (_, done), parameters in alike.items():
                self._step_together(parameters, done, group)

    def _step_together(self, parameters: list[nn.Parameter], done: int, group: dict) -> None:
        """Update matrices of one shape that have done so many steps."""
        grads = torch.stack([whole(p.grad) for p in parameters])
        if done:
            self._move(parameters, self._update(parameters, grads, done), group)
        else:
            self._begin(parameters, grads)
        for side, turned in self._sides(grads):
            torch._foreach_lerp_(self._of(parameters, SQUARE[side]), list(turned @ turned.mT), 1 - self._config.beta2)
            if not done:
                self._put(parameters, BASIS[side], _eigenvectors(self._curvature(parameters, side)))
            elif done % self._config.every == 0:
                self._renew(parameters, side)

    def _sides(self, grads: Float[Tensor, "n rows columns"]) -> list[tuple[str, Tensor]]:
        """The sides that have a basis, each with the gradients turned so that this side comes first."""
        return [(side, turned) for side, turned in (("left", grads), ("right", grads.mT))
                if turned.shape[1] <= self._config.largest]

    def _begin(self, parameters: list[nn.Parameter], grads: Float[Tensor, "n rows columns"]) -> None:
        for parameter, grad in zip(parameters, grads, strict=True):
            state = self.state[parameter]
            state["mean"], state["square"] = torch.zeros_like(grad), torch.zeros_like(grad)
            for side, turned in self._sides(grads):
                for name in (SQUARE[side], BASIS[side]):
                    state[name] = grad.new_zeros(turned.shape[1], turned.shape[1])

    def _update(self, parameters: list[nn.Parameter], grads: Float[Tensor, "n rows columns"], done: int
                ) -> Float[Tensor, "n rows columns"]:
        """Adam's update, computed in the bases."""
        bases = {side: torch.stack(self._of(parameters, BASIS[side])) for side, _ in self._sides(grads)}
        means, squares = self._of(parameters, "mean"), self._of(parameters, "square")
        torch._foreach_lerp_(means, list(grads), 1 - self._config.beta1)
        torch._foreach_lerp_(squares, list(_turn(grads, bases).square()), 1 - self._config.beta2)
        mean = _turn(torch.stack(means), bases) / (1 - self._config.beta1**done)
        square = torch.stack(squares) / (1 - self._config.beta2**done)
        return _turn(mean / (square.sqrt() + EPS), {side: basis.mT for side, basis in bases.items()})

    def _move(self, parameters: list[nn.Parameter], updates: Float[Tensor, "n rows columns"], group: dict) -> None:
        weights: list[Tensor] = list(parameters)
        parts = [sharded_like(update, weight) for update, weight in zip(updates, weights, strict=True)]
        move(weights, parts, group, self._config.cautious)

    def _renew(self, parameters: list[nn.Parameter], side: str) -> None:
        """One step of orthogonal iteration. It keeps the order of eigenvectors, so they are sorted first, and the mean squares
        that belong to them.
        """
        basis = torch.stack(self._of(parameters, BASIS[side]))
        moved = self._curvature(parameters, side) @ basis
        order = (basis * moved).sum(dim=1).argsort(dim=1, descending=True, stable=True)
        self._put(parameters, BASIS[side], torch.linalg.qr(moved.gather(2, order[:, None].expand_as(moved)))[0])
        squares = torch.stack(self._of(parameters, "square"))
        index = order[:, :, None] if side == "left" else order[:, None]
        self._put(parameters, "square", squares.gather(1 if side == "left" else 2, index.expand_as(squares)))

    def _curvature(self, parameters: list[nn.Parameter], side: str) -> Float[Tensor, "n side side"]:
        """The matrices whose eigenvectors are wanted. A small ramp on the diagonal says which they are where eigenvalues are
        equal, such as zero; otherwise rounding would say it, and runs would differ by how their sums are ordered.
        """
        squares = torch.stack(self._of(parameters, SQUARE[side]))
        ramp = torch.linspace(TIES, 0.0, squares.shape[1], dtype=squares.dtype, device=squares.device)
        return squares + torch.diag_embed(squares.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True) * ramp)

    def _of(self, parameters: list[nn.Parameter], name: str) -> list[Tensor]:
        """A state of these matrices, whole. After a run that goes on was spread, each process has a part of it at first."""
        for parameter in parameters:
            self.state[parameter][name] = whole(self.state[parameter][name])
        return [self.state[parameter][name] for parameter in parameters]

    def _put(self, parameters: list[nn.Parameter], name: str, values: Float[Tensor, "n rows columns"]) -> None:
        torch._foreach_copy_(self._of(parameters, name), list(values))


def _eigenvectors(squares: Float[Tensor, "n side side"]) -> Float[Tensor, "n side side"]:
    """Those with large eigenvalues first, each with a positive largest entry. Numbers that aren't finite count as 0: the run
    ends itself because of them, in a line that says why.
    """
    vectors = torch.linalg.eigh(squares.nan_to_num(0.0, 0.0, 0.0))[1].flip(2)
    return vectors * vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()


def _turn(x: Float[Tensor, "n rows columns"], bases: dict[str, Tensor]) -> Float[Tensor, "n rows columns"]:
    """Matrices in other bases."""
    x = bases["left"].mT @ x if "left" in bases else x
    return x @ bases["right"] if "right" in bases else x
