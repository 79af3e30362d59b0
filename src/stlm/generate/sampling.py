"""Sampling of one token from scores."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stlm.config.bounds import Checked, Range, Share, ShareAboveZero


@dataclasses.dataclass(frozen=True)
class Sampling(Checked):
    """How tokens are drawn."""

    temperature: Annotated[float, Range(0, 1000)] = 0.8
    """Scores are divided by this. 0 always selects the likeliest token."""
    top_p: ShareAboveZero = 1.0
    """Keep the likeliest tokens that together have this probability (Holtzman et al. 2020, arXiv 1904.09751)."""
    min_p: Share = 0.0
    """Keep tokens that have at least this share of the likeliest one's probability (arXiv 2407.01082)."""


def draw(logits: Float[Tensor, " token"], allowed: Bool[Tensor, " token"], how: Sampling,
         generator: torch.Generator) -> int:
    """Draw one of the allowed tokens. It reads as many numbers from ``generator`` as there are tokens, whatever the scores."""
    return pick(logits, allowed, how, gumbel_noise(generator, len(logits)))


def gumbel_noise(generator: torch.Generator, n: int) -> Float[np.ndarray, " token"]:
    """Gumbel noise for one draw among ``n`` tokens, from the next numbers of ``generator``."""
    return -np.log(torch.empty(n, dtype=torch.float64).exponential_(generator=generator).numpy())


def pick(logits: Float[Tensor, " token"], allowed: Bool[Tensor, " token"], how: Sampling,
         gumbel: Float[np.ndarray, " token"]) -> int:
    """The allowed token with the highest sum of score and Gumbel noise.

    Two models with the same noise draw the same token with a probability of at least (1 - d) / (1 + d), where d is the total
    variation between them. No method in which neither model knows the other has a better bound (Daliri et al. 2024, arXiv
    2408.07978). So drafts are often accepted.
    """
    # NumPy, because its calls cost much less than torch's for so few numbers
    scores = np.where(allowed.numpy(), logits.detach().double().numpy(), -np.inf)
    if how.temperature == 0:
        return int(scores.argmax())
    with np.errstate(over="ignore"):  # near 0, all but the likeliest get minus infinity, as they should
        scores = (scores - scores.max()) / how.temperature
    if how.top_p < 1 or how.min_p > 0:
        order = np.argsort(-scores, kind="stable")
        p = np.exp(scores[order])
        p /= p.sum()
        kept = (p >= how.min_p * p[0]) & (np.cumsum(p) - p < how.top_p)
        scores[order[~kept]] = -np.inf
    return int((scores + gumbel).argmax())


def log_probability(logits: Float[Tensor, " token"], token: int) -> float:
    """The natural logarithm of a token's probability under the model, before temperature, top_p and min_p."""
    scores = logits.detach().double().numpy()
    most = scores.max()
    return float(scores[token] - most - np.log(np.exp(scores - most).sum()))
