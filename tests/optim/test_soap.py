"""SOAP: what it is where bases don't matter, and that it is better than Adam where curvature isn't along the axes."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import small_model
from torch import Tensor

from stlm.nn.weights import ParameterInfo, Role, parameters_of
from stlm.optim import muon, set_learning_rate, soap


def matrix(*shape: int, in_trunk: bool = True) -> ParameterInfo:
    return ParameterInfo("w", torch.nn.Parameter(torch.zeros(shape)), Role.MATRIX, in_trunk, 1.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rotation(n: int, seed: int) -> Tensor:
    return torch.linalg.qr(random(n, n, seed=seed))[0]


def descend(shape: tuple[int, int], make, steps: int, lr: float) -> float:
    """The loss after some steps on |A (W - T) B|^2 with A and B of condition 100, whose axes aren't those of W."""
    (rows, columns), one = shape, matrix(*shape)
    a = torch.diag(torch.logspace(0, -2, rows)) @ rotation(rows, 1)
    b = rotation(columns, 2) @ torch.diag(torch.logspace(0, -2, columns))
    target = random(rows, columns, seed=3)
    optimizer, loss = make(one), torch.zeros(())
    for step in range(steps):
        set_learning_rate([optimizer], 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        loss = (a @ (one.parameter - target) @ b).square().sum()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def adam(one: ParameterInfo) -> torch.optim.Optimizer:
    return torch.optim.AdamW([{"params": [one.parameter], "peak_lr": 1.0}], lr=1.0, betas=(0.95, 0.95), weight_decay=0.0)


def soap_of(**fields):
    return lambda one: soap.Soap([one], lambda info: 1.0, soap.Config(lr=1.0, weight_decay=0.0, **fields))


@pytest.mark.parametrize(("shape", "largest", "gain"), [((12, 12), 512, 3.0), ((16, 8), 512, 3.0), ((24, 8), 8, 1.2)], ids=str)
def test_it_beats_adam_where_curvature_is_not_along_the_axes(shape, largest, gain):
    """Each at the best of several rates. With a basis on one side it gains less."""
    rates = (0.01, 0.03, 0.1, 0.3)
    ours, theirs = (min(descend(shape, make, 150, lr) for lr in rates) for make in (soap_of(every=5, largest=largest), adam))
    assert ours * gain < theirs


def test_without_bases_it_is_adam():
    """But for the first step, which moves nothing."""
    one, other = matrix(6, 4), matrix(6, 4)
    ours, theirs = soap_of(largest=1)(one), adam(other)
    for step in range(6):
        grad = random(6, 4, seed=step)
        one.parameter.grad, other.parameter.grad = grad.clone(), grad.clone()
        ours.step()
        if step:
            theirs.step()
    assert float(one.parameter.detach().abs().max()) > 1
    torch.testing.assert_close(one.parameter, other.parameter, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("every", [1, 3])
def test_bases_become_eigenvectors(every):
    """Where gradients always have the same statistics."""
    one = matrix(6, 9)
    optimizer = soap_of(every=every, beta2=0.99)(one)
    mix = torch.diag(torch.logspace(0, -1.5, 6)) @ rotation(6, 5)
    for step in range(300):
        one.parameter.grad = mix.T @ random(6, 9, seed=step)
        optimizer.step()
    state = optimizer.state[one.parameter]
    turned = state["left_basis"].T @ state["left_square"] @ state["left_basis"]
    off = turned - torch.diag(turned.diagonal())
    assert float(off.abs().max()) < 0.1 * float(turned.diagonal().max())
    assert bool((turned.diagonal()[:-1] >= 0.8 * turned.diagonal()[1:]).all())
    torch.testing.assert_close(state["left_basis"].T @ state["left_basis"], torch.eye(6), atol=1e-5, rtol=0)


def test_matrices_of_one_shape_do_not_matter_to_each_other():
    ones = [matrix(4, 6) for _ in range(3)]
    alone = [matrix(4, 6) for _ in range(3)]
    optimizers = [soap.Soap(ones, lambda info: 1.0, soap.Config(every=2)),
                  *(soap.Soap([one], lambda info: 1.0, soap.Config(every=2)) for one in alone)]
    for step in range(7):
        for number, (one, other) in enumerate(zip(ones, alone, strict=True)):
            grad = random(4, 6, seed=10 * step + number)
            one.parameter.grad, other.parameter.grad = grad.clone(), grad.clone()
        if step == 3:  # one of them may be left out of a step
            ones[1].parameter.grad = alone[1].parameter.grad = None
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ones, alone, strict=True):
        torch.testing.assert_close(one.parameter, other.parameter, atol=1e-5, rtol=1e-4)


def test_the_order_of_eigenvectors_does_not_matter():
    """Mean squares stay with the eigenvectors that they belong to when these are sorted."""
    ones = [matrix(5, 7), matrix(5, 7)]
    optimizers = [soap_of(every=2)(one) for one in ones]
    for step in range(12):
        for one, optimizer in zip(ones, optimizers, strict=True):
            one.parameter.grad = random(5, 7, seed=step) * torch.logspace(0, -2, 7)
            optimizer.step()
        if step == 5:
            state, left, right = optimizers[1].state[ones[1].parameter], torch.tensor([3, 0, 4, 1, 2]), torch.arange(7).flip(0)
            state["left_basis"], state["right_basis"] = state["left_basis"][:, left], state["right_basis"][:, right]
            state["square"] = state["square"][left][:, right]
    torch.testing.assert_close(ones[0].parameter, ones[1].parameter, atol=1e-3, rtol=1e-3)


def test_zeros_and_what_is_not_finite():
    """The run ends itself because of a gradient that isn't finite; no other error comes before."""
    for number in (0.0, float("nan"), float("inf")):
        one = matrix(3, 5)
        optimizer = soap_of(every=1)(one)
        for _ in range(3):
            one.parameter.grad = torch.full((3, 5), number)
            optimizer.step()
        assert number != 0 or bool(one.parameter.isfinite().all())


def test_which_matrices_get_a_basis():
    model = small_model(("whitespace", "mean", "conv", "untied")).float()
    infos = parameters_of(model)
    optimizers = soap.Config(largest=8).build(infos)
    of = {id(p): number for number, optimizer in enumerate(optimizers) for group in optimizer.param_groups
          for p in group["params"]}
    for info in infos:
        assert of[id(info.parameter)] == (0 if info.role is Role.MATRIX and min(info.parameter.shape) <= 8 else 1)
    assert 0 < sum(number == 0 for number in of.values()) < sum(info.role is Role.MATRIX for info in infos)


def test_muon_leaves_it_the_matrices_outside_the_trunk():
    infos = parameters_of(small_model(("whitespace", "mean", "conv", "untied")).float())
    trunk, rest, local = muon.Config(local="soap", adamw_lr=0.004).build(infos)
    of = {id(p): optimizer for optimizer in (trunk, rest, local) for group in optimizer.param_groups for p in group["params"]}
    for info in infos:
        assert of[id(info.parameter)] is (rest if info.role is not Role.MATRIX else trunk if info.in_trunk else local)
    assert {group["peak_lr"] for group in local.param_groups} == {0.004}
