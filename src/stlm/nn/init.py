"""How linear layers start."""

from __future__ import annotations

from torch import nn


def linear(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A linear layer without bias, normal with variance 1 / inputs.

    ``zero`` starts it at zero: what writes into the residual stream does, so that every block begins as the identity
    (GPT-2 speed runs, 2024: part of a 1.47x step).
    """
    layer = nn.Linear(inputs, outputs, bias=False)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer
