"""From scores to one symbol."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How symbols are drawn."""

    temperature: float = 0.8
    """Scores are divided by this; 0 always takes the likeliest."""
    top_p: float = 1.0
    """Keep the likeliest symbols that together have this probability (Holtzman et al. 2020, arXiv 1904.09751)."""
    min_p: float = 0.0
    """Keep symbols that have at least this share of the likeliest one's probability (arXiv 2407.01082)."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError("temperature has to be 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p has to lie above 0 and at most at 1")
        if not 0 <= self.min_p <= 1:
            raise ValueError("min_p has to lie between 0 and 1")


def draw(logits: Float[Tensor, " symbol"], allowed: Bool[Tensor, " symbol"], how: Sampling,
         generator: torch.Generator) -> int:
    """One of the allowed symbols. The draw itself takes one number of ``generator``, whatever the scores."""
    return pick(logits, allowed, how, chance_of(generator))


def chance_of(generator: torch.Generator) -> float:
    """The next number of a generator, between 0 and 1."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def pick(logits: Float[Tensor, " symbol"], allowed: Bool[Tensor, " symbol"], how: Sampling, chance: float) -> int:
    """The allowed symbol that ``chance``, between 0 and 1, falls on."""
    # in NumPy, whose calls cost a fraction of torch's for so few numbers
    scores = np.where(allowed.numpy(), logits.detach().double().numpy(), -np.inf)
    if how.temperature == 0:
        return int(scores.argmax())
    p: np.ndarray = np.exp((scores - scores.max()) / how.temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    p = p[order]
    cumulative = np.cumsum(p)
    p = np.where((p >= how.min_p * p[0]) & (cumulative - p < how.top_p), p, 0.0)
    cumulative = np.cumsum(p)
    place = np.searchsorted(cumulative, chance * cumulative[-1], side="right")
    return int(order[min(int(place), int(np.count_nonzero(p)) - 1)])
