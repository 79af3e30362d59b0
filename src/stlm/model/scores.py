"""Scores of the next token: the head's logits, and evidence that adds to the odds of single tokens.

Training needs only the surprisal of the target. It depends on the log of the sum of exp over a row, and on the target's logit.
The evidence for a few tokens is added to these two numbers, so the logits are not copied. The logits are read once in the
forward pass, and their gradient is written once in the backward pass, in pieces that fit into a CPU's cache.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stlm.errors import UserError

PIECE = 1 << 19  # logits that a CPU works on at a time: 2 MB in float32


@dataclasses.dataclass(frozen=True)
class Copies:
    """Evidence: ``exp(score)`` adds to the odds of ``token`` at position ``place``, an index into the flattened batch and seq.
    """

    place: Int[Tensor, " pair"]
    token: Int[Tensor, " pair"]
    score: Float[Tensor, " pair"]


@dataclasses.dataclass(frozen=True)
class Scores:
    """p(c) at a position is proportional to exp(raw[c]) + the sum of exp(score) over the copies of c there."""

    raw: Float[Tensor, "batch seq token"]
    copies: Copies | None = None

    def logits(self) -> Float[Tensor, "batch seq token"]:
        """The logits with the evidence of copies added, in at least float32; ``raw`` itself if there are no copies."""
        if self.copies is None:
            return self.raw
        to = self.copies.place * self.raw.shape[2] + self.copies.token
        return AddOdds.apply(wide(self.raw).flatten(), self.copies.score, to).view_as(self.raw)

    def log_total(self) -> Float[Tensor, "batch seq"]:
        """The log of the sum of exp over the scores, in at least float32."""
        total, _ = self._sums(torch.zeros_like(self.raw[..., 0], dtype=torch.long).flatten())
        return total.view(self.raw.shape[:2])

    def surprisal(self, targets: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq"]:
        """-log p(target) in nats, in at least float32."""
        total, own = self._sums(targets.flatten())
        return (total - own).view(targets.shape)

    def _sums(self, targets: Int[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """For each place, the log of the sum of exp over the scores, and the score of the target."""
        total, own = LogSum.apply(self.raw.flatten(0, 1), targets)
        if self.copies is not None:
            place, odds = self.copies.place, self.copies.score.exp()
            right = odds * (self.copies.token == targets[place])
            total, own = (_plus(logit, torch.zeros_like(logit).index_add(0, place, some))
                          for logit, some in ((total, odds), (own, right)))
        return total, own


def wide(scores: Tensor) -> Tensor:
    """``scores`` in at least float32, which sums of exponentials need."""
    return scores if scores.dtype.itemsize > 4 else scores.float()


def _plus(logit: Tensor, odds: Tensor) -> Tensor:
    """``log(exp(logit) + odds)``. Where odds are 0, it is the logit, and the odds get no gradient."""
    return torch.logaddexp(logit, odds.clamp(min=torch.finfo(odds.dtype).tiny).log())


class LogSum(torch.autograd.Function):
    """For each row of logits [n, token], the log of the sum of exp, and the logit of ``targets`` [n], in at least float32."""

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
    """The number of rows in a piece."""
    return max(1, PIECE // logits.shape[1]) if logits.device.type == "cpu" else max(1, logits.shape[0])


class AddOdds(torch.autograd.Function):
    """``log(exp(logits) + sum of exp(scores))``: logits [n], scores [pair]; ``to`` [pair] is the index of each score's logit.

    The cost grows with the number of pairs, not of logits. Logits and scores get gradients.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, scores: Tensor, to: Tensor) -> Tensor:
        odds = torch.zeros_like(logits).scatter_add_(0, to, scores.exp())
        old = logits[to]
        new = torch.logaddexp(old, odds[to].log())
        ctx.save_for_backward((old - new).exp(), (scores - new).exp(), to)
        return logits.scatter(0, to, new)  # an index that occurs twice gets the same value twice

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        of_logits, of_scores, to = ctx.saved_tensors
        at = grads[0][to]
        return grads[0].scatter(0, to, at * of_logits), at * of_scores, None


def check_finite(scores: Tensor) -> Tensor:
    """Scores [..., token], or the surprisal of single tokens [...], after a look at them. UserError if they aren't finite
    numbers. A token that can't come may have minus infinity, but not all of them.
    """
    if scores.numel() and not bool(scores.amax(-1).isfinite().all()):
        raise UserError("the model's scores aren't finite numbers; its weights may be damaged, or its training diverged")
    return scores
