"""Cautious weight decay: it never works against an update."""

from __future__ import annotations

import pytest
import torch

from stlm.nn.weights import ParameterInfo, Role
from stlm.optim import OptimConfig, adamw, decay_cautiously, muon, set_learning_rate, soap

WEIGHTS = torch.tensor([[2.0, -2.0, 2.0, -2.0], [0.0, 3.0, 1.0, -1.0]])
GRADS = torch.tensor([[1.0, -1.0, -1.0, 1.0], [1.0, 0.0, 1.0, 1.0]])
DECAYED = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]) > 0  # same sign, or nothing to do


def info(weights: torch.Tensor) -> ParameterInfo:
    return ParameterInfo("w", torch.nn.Parameter(weights.clone()), Role.MATRIX, True, 1.0)


def trained(config: OptimConfig, grads: list[torch.Tensor]) -> torch.Tensor:
    """The matrix after a step with each of these gradients."""
    one = info(WEIGHTS)
    vector = ParameterInfo("v", torch.nn.Parameter(torch.ones(3)), Role.VECTOR, True, 1.0)
    optimizers = config.build([one, vector])
    for grad in grads:
        one.parameter.grad = grad.clone()
        set_learning_rate(optimizers, 1.0)
        for optimizer in optimizers:
            optimizer.step()
    return one.parameter.detach()


def test_signs():
    weights = WEIGHTS.clone()
    decay_cautiously([weights], [GRADS.clone()], 0.1)
    torch.testing.assert_close(weights, torch.where(DECAYED, 0.9 * WEIGHTS, WEIGHTS))


def test_the_first_step_of_adamw():
    """An update has the sign of its gradient then, and the size of the learning rate."""
    found = trained(adamw.Config(lr=0.1, weight_decay=0.5, cautious=True), [GRADS])
    torch.testing.assert_close(found, torch.where(DECAYED, 0.95 * WEIGHTS, WEIGHTS) - 0.1 * GRADS.sign())


def test_later_steps_of_adamw_go_by_the_mean_of_the_gradients():
    """The second gradient points the other way, but the mean of both doesn't; and the update itself is that without decay."""
    steps = [GRADS, -0.5 * GRADS]
    config = adamw.Config(lr=0.1, beta1=0.9, weight_decay=0.5, cautious=True)
    plain = [trained(adamw.Config(lr=0.1, beta1=0.9, weight_decay=0.0), steps[:n]) for n in (1, 2)]
    moves = [plain[0] - WEIGHTS, plain[1] - plain[0]]
    assert bool((moves[1] * moves[0] >= 0).all())
    weights = WEIGHTS
    for move in moves:
        weights = weights - 0.05 * torch.where(-move * weights >= 0, weights, torch.zeros(())) + move
    torch.testing.assert_close(trained(config, steps), weights)


@pytest.mark.parametrize("make", [muon.Config, soap.Config], ids=["muon", "soap"])
def test_the_others(make):
    """Where decay goes with the update it is as usual, elsewhere there is none."""
    grads = [torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    none, plain, cautious = (trained(make(lr=0.01, weight_decay=decay, cautious=careful), grads[:2])
                             for decay, careful in ((0.0, False), (2.0, False), (2.0, True)))
    if make is soap.Config:  # its first step moves nothing
        with_update = (none - WEIGHTS) * WEIGHTS <= 0
        torch.testing.assert_close(cautious, torch.where(with_update, plain, none))
    else:
        assert bool(((cautious - none).abs() <= (plain - none).abs() + 1e-6).all())
        assert 0 < (cautious - none).norm() < (plain - none).norm()


@pytest.mark.parametrize("make", [adamw.Config, muon.Config, soap.Config], ids=["adamw", "muon", "soap"])
def test_without_decay_nothing_changes(make):
    grads = [GRADS, GRADS + 0.3, -GRADS]
    assert torch.equal(trained(make(weight_decay=0.0, cautious=True), grads), trained(make(weight_decay=0.0), grads))
