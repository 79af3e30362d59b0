"""How likely each token is: the head's logits, and evidence that adds to the odds of single tokens.

Training asks for one thing only, how surprising the target is. That takes a row's log-sum and the target's logit, to which the
evidence of a few tokens adds without touching the others: rows as wide as a vocabulary are read once forward and written once
backward, in pieces that fit into a CPU's cache.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

PIECE = 1 << 19  # logits that a CPU works on at a time: 2 MB in float32


@dataclasses.dataclass(frozen=True)
class Copies:
    """Pieces of evidence: ``exp(score)`` adds to the odds of ``token`` at ``place``, counted over batch and seq."""

    place: Int[Tensor, " pair"]
    token: Int[Tensor, " pair"]
    score: Float[Tensor, " pair"]


@dataclasses.dataclass(frozen=True)
class Scores:
    """p(c) at a place is in proportion to exp(raw[c]) + the sum of exp(score) over the copies of c there."""

    raw: Float[Tensor, "batch seq token"]
    copies: Copies | None = None

    def logits(self) -> Float[Tensor, "batch seq token"]:
        """All in one: raw as it is, or in at least float32 where copies add to it."""
        if self.copies is None:
            return self.raw
        to = self.copies.place * self.raw.shape[2] + self.copies.token
        return AddOdds.apply(wide(self.raw).flatten(), self.copies.score, to).view_as(self.raw)

    def surprisal(self, targets: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq"]:
        """-log p(target) in nats, in at least float32."""
        flat = targets.flatten()
        total, own = LogSum.apply(self.raw.flatten(0, 1), flat)
        if self.copies is not None:
            place, odds = self.copies.place, self.copies.score.exp()
            right = odds * (self.copies.token == flat[place])
            total, own = (_plus(logit, torch.zeros_like(logit).index_add(0, place, some))
                          for logit, some in ((total, odds), (own, right)))
        return (total - own).view(targets.shape)


def wide(scores: Tensor) -> Tensor:
    """In at least float32, as exponentials and their sums need."""
    return scores if scores.dtype.itemsize > 4 else scores.float()


def _plus(logit: Tensor, odds: Tensor) -> Tensor:
    """``log(exp(logit) + odds)``; without odds, the logit and no gradient to them."""
    return torch.logaddexp(logit, odds.clamp(min=torch.finfo(odds.dtype).tiny).log())


class LogSum(torch.autograd.Function):
    """The log of the sum of exp of each row of logits [n, token], and its logit of ``targets`` [n], in at least float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        own = wide(logits.gather(1, targets[:, None])[:, 0])
        total = torch.cat([wide(piece).logsumexp(dim=1) for piece in logits.split(_rows(logits))])
        ctx.save_for_backward(logits, targets, total)
        return total, own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, targets, total = ctx.saved_tensors
        out = torch.empty_like(logits)
        for piece, to, at, log_sum, of_total, of_own in zip(*(
                each.split(_rows(logits)) for each in (logits, out, targets, total, *grads)), strict=True):
            grad = (wide(piece) - log_sum[:, None]).exp_().mul_(of_total[:, None])
            to.copy_(grad.scatter_add_(1, at[:, None], of_own[:, None]))
        return out, None


def _rows(logits: Tensor) -> int:
    """How many rows make a piece."""
    return max(1, PIECE // logits.shape[1]) if logits.device.type == "cpu" else max(1, logits.shape[0])


class AddOdds(torch.autograd.Function):
    """``log(exp(logits) + sum of exp(scores))``, where each score goes to one logit: logits [n], scores and ``to`` [pair].

    Its cost grows with the pairs, not with the logits; gradients go to logits and scores.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, scores: Tensor, to: Tensor) -> Tensor:
        odds = torch.zeros_like(logits).scatter_add_(0, to, scores.exp())
        old = logits[to]
        new = torch.logaddexp(old, odds[to].log())
        ctx.save_for_backward((old - new).exp(), (scores - new).exp(), to)
        return logits.scatter(0, to, new)  # places that occur twice get the same value twice

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        of_logits, of_scores, to = ctx.saved_tensors
        at = grads[0][to]
        return grads[0].scatter(0, to, at * of_logits), at * of_scores, None
