"""Orthogonal updates: how near to orthogonal, whole and in blocks, and evened out by rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stlm.nn.weights import ParameterInfo, Role
from stlm.optim import muon
from stlm.optim.orthogonal import POLAR_EXPRESS, orthogonal, polynomials

SHAPES = [(3, 8, 8), (2, 16, 4), (1, 4, 16)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(**fields: object) -> muon.Config:
    """Updates alone, without momentum and decay, and as orthogonal as they get."""
    return muon.Config(**{"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "coefficients": "polar_express", "iterations": 9,
                          **fields})


def moves(config: muon.Config, grads: list[Tensor], steps: int = 1) -> list[Tensor]:
    """By how much the last of some steps with the same gradients changes each matrix, divided by minus the learning rate."""
    ones = [ParameterInfo(str(n), torch.nn.Parameter(torch.zeros_like(grad)), Role.MATRIX, True, 1.0)
            for n, grad in enumerate(grads)]
    optimizer = muon.Muon(ones, lambda one: 1.0, config)
    for _ in range(steps):
        before = [one.parameter.detach().clone() for one in ones]
        for one, grad in zip(ones, grads, strict=True):
            one.parameter.grad = grad.clone()
        optimizer.step()
    return [(old - one.parameter.detach()) / config.rate for one, old in zip(ones, before, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_muon_sets_singular_values_to_about_one(shape):
    values = torch.linalg.svdvals(orthogonal(random(*shape)).float())
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_polar_express_sets_them_to_one(shape, precision):
    x = random(*shape)
    u, values, v = torch.linalg.svd(x, full_matrices=False)
    small = 0.01 * x.norm(dim=(1, 2), keepdim=True)
    x = u @ torch.diag_embed(values.clamp_min(small[:, 0])) @ v  # it takes them from 1e-3 of the norm on, and bf16 from more
    found = orthogonal(x, 8, "polar_express", precision).float()
    torch.testing.assert_close(found, u @ v, atol=1e-4 if precision == "fp32" else 0.06, rtol=0)


@pytest.mark.parametrize(("iterations", "error"), [(3, 0.9), (4, 0.6), (5, 0.2), (6, 0.02)])
def test_polar_express_converges_where_muon_does_not(iterations, error):
    """The largest error for singular values from 1e-3 to 1."""
    x = torch.logspace(-3, 0, 2000, dtype=torch.double)

    def worst(coefficients):
        found = x / (1.01 if coefficients == "polar_express" else 1.0)
        for a, b, c in polynomials(coefficients, iterations):
            found = a * found + b * found**3 + c * found**5
        return float((found - 1).abs().max())
    assert worst("polar_express") < error
    assert iterations < 5 or worst("muon") > 0.25


def test_the_published_polynomials_are_minimax():
    """Each is found again: of all odd polynomials of fifth order it has the least largest error on its interval, by Remez'
    exchange. The interval is where the one before leaves singular values; its lower end counts as at least 2.4 % of the upper,
    and results are centred around one (Amsel et al. 2025, section 4.4).
    """
    low, high = 1e-3, 1.0
    for published in POLAR_EXPRESS[:6]:
        a, b, c = remez(max(low, 0.02407327424182761 * high), high)
        centre = 2 / (value(a, b, c, low) + value(a, b, c, high))
        a, b, c = a * centre, b * centre, c * centre
        assert (a, b, c) == pytest.approx(published, rel=1e-6)
        low = value(a, b, c, low)
        high = 2 - low
    assert POLAR_EXPRESS[-1] == (15 / 8, -10 / 8, 3 / 8)  # Newton and Schulz


def value(a: float, b: float, c: float, x: float) -> float:
    return a * x + b * x**3 + c * x**5


def remez(low: float, high: float) -> tuple[float, float, float]:
    points = np.linspace(low, high, 4)
    for _ in range(60):
        signs = np.array([1.0, -1.0, 1.0, -1.0])
        a, b, c, _ = np.linalg.solve(np.column_stack([points, points**3, points**5, signs]), np.ones(4))
        inner = np.sort(np.sqrt(np.roots([5 * c, 3 * b, a]).real))  # where the derivative is zero
        points = np.array([low, *inner, high])
    return float(a), float(b), float(c)


@pytest.mark.parametrize("config", [exact(), exact(blocks=4), exact(blocks=4, every=2)], ids=["whole", "blocks", "periodic"])
@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16), (12, 3)])
def test_every_update_has_the_same_mean_square(config, shape):
    """So one learning rate does for whole matrices and for blocks."""
    for steps in (1, 2):
        (found,) = moves(config, [random(*shape)], steps)
        assert float(found.square().sum()) == pytest.approx(shape[0], rel=1e-3)


def test_blocks_are_orthogonal_by_themselves_and_take_turns_with_whole_matrices():
    grad = random(8, 16)
    config = exact(blocks=2, every=3)
    whole = orthogonal(grad[None], 8, "polar_express")[0]
    halves = torch.cat([orthogonal(half[None], 8, "polar_express")[0] for half in grad.split(4)])
    for steps, expected in ((1, whole), (2, halves), (3, halves), (4, whole)):
        torch.testing.assert_close(moves(config, [grad], steps)[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(moves(exact(blocks=2), [grad])[0],
                               halves, atol=1e-4, rtol=0)


def test_tall_matrices_are_cut_into_columns():
    """That is the shorter side, so that it is cheaper."""
    grad = random(16, 8)
    found, turned = (moves(exact(blocks=2), [each])[0] for each in (grad, grad.T))
    torch.testing.assert_close(found, turned.T * math.sqrt(16 / 8), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, :4].T @ found[:, :4], 2 * torch.eye(4), atol=1e-3, rtol=0)
    assert float((found.T @ found)[:4, 4:].abs().max()) > 0.1


def test_rows_that_cannot_be_cut_so_are_cut_less():
    grads = [random(6, 8), random(7, 8)]
    found, three, whole = (moves(exact(blocks=blocks), grads) for blocks in (4, 3, 1))
    assert not torch.allclose(found[0], whole[0], atol=0.01) and torch.equal(found[1], whole[1])
    assert torch.equal(found[0], three[0])


def test_blocks_of_one_row_are_the_normalised_momentum():
    grad = random(4, 9)
    (found,) = moves(exact(blocks=4), [grad])
    torch.testing.assert_close(found, grad / grad.norm(dim=1, keepdim=True), atol=1e-4, rtol=0)


def test_normalized_rows():
    """Rows are even from the first step on, the norm is that without, and later steps go by the mean of the squares."""
    grad = random(16, 4) * torch.logspace(-2, 0, 16)[:, None]
    plain = moves(exact(), [grad])[0]
    first, later = (moves(exact(normalize=True, beta2=0.5), [grad], steps)[0] for steps in (1, 6))
    norms = [found.norm(dim=1) for found in (plain, first, later)]
    assert norms[0].max() / norms[0].min() > 5
    for found, rows in ((first, norms[1]), (later, norms[2])):
        assert rows.max() / rows.min() < 1.01
        assert float(found.norm()) == pytest.approx(float(plain.norm()), rel=1e-4)


def test_mean_squares_of_rows():
    """Against the formula, with gradients that change."""
    one = ParameterInfo("w", torch.nn.Parameter(torch.zeros(4, 8)), Role.MATRIX, True, 1.0)
    config = muon.Config(momentum=0.0, normalize=True, beta2=0.8, lr=1.0, weight_decay=0.0)
    optimizer, mean, weights = muon.Muon([one], lambda info: 1.0, config), torch.zeros(4, 1), torch.zeros(4, 8)
    for seed in range(3):
        grad = random(4, 8, seed=seed)
        one.parameter.grad = grad.clone()
        optimizer.step()
        update = orthogonal(grad[None])[0]
        mean = 0.8 * mean + 0.2 * update.square().mean(dim=1, keepdim=True)
        even = update / mean.sqrt()
        weights = weights - even * update.norm() / even.norm()
    torch.testing.assert_close(one.parameter.detach(), weights)


def test_matrices_of_one_shape_do_not_matter_to_each_other():
    grads = [random(4, 8, seed=seed) for seed in range(3)]
    config = exact(normalize=True, blocks=2, every=2)
    for steps in (1, 2):
        alone = [moves(config, [grad], steps)[0] for grad in grads]
        for together, single in zip(moves(config, grads, steps), alone, strict=True):
            torch.testing.assert_close(together, single, atol=1e-5, rtol=0)


def test_the_scale_of_tall_matrices():
    (found,) = moves(exact(), [random(32, 8)])
    torch.testing.assert_close(torch.linalg.svdvals(found), torch.full((8,), math.sqrt(32 / 8)), atol=1e-3, rtol=0)
