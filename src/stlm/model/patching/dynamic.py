"""Patches whose ends are learned: dynamic chunking (H-Net, Hwang et al. 2025, arXiv 2507.07955, section 2.2).

A router ends a patch where a byte's vector is unlike the vector before it. This decision has no gradient, so three things train
the router. First, the trunk's outputs are smoothed over patches with the probabilities of their ends (dechunking). Second, the
output at each byte is multiplied by the confidence of the decision, as a factor of 1 with a gradient (straight through). Third,
a ratio loss moves the share of ends to one in ``target``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Positive, Range, Weight
from stlm.model.layout import latest
from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.memory import Memory
from stlm.nn.recurrence import recurrence
from stlm.nn.weights import Linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """A patch ends where a learned router sees a change in the text."""

    target: Annotated[float, Range(1, 10**6, above=True)] = 5.0
    """Mean number of tokens in a patch that training aims for."""
    ratio_loss_weight: Weight = 0.03
    """Weight of the ratio loss, which moves the mean length of patches to ``target``."""
    lr_mult: Positive = 1.0
    """Learning rate of the router, as a multiple of the model's."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Dynamic:
        return Dynamic(dim, self)


@dataclasses.dataclass
class RouterMemory(Memory):
    """key: the key of each row's last token."""

    key: Float[Tensor, "batch dim"]


@dataclasses.dataclass(frozen=True)
class SoftBoundaries(Boundaries):
    """Ends, with the router's probability of an end at each token."""

    boundary_prob: Float[Tensor, "batch seq"] = dataclasses.field(kw_only=True)

    def dechunk(self, states: Float[Tensor, "batch patch dim"], at_ends: Callable[[Tensor], Tensor],
                before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch patch dim"]:
        return smoothed(states, at_ends(self.boundary_prob), before)

    def straight_through(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        confidence = torch.where(self.ends, self.boundary_prob, 1 - self.boundary_prob)
        return x * (confidence + (1 - confidence).detach())[..., None].to(x.dtype)


def smoothed(states: Float[Tensor, "batch patch dim"], prob: Float[Tensor, "batch patch"],
             before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch patch dim"]:
    """``z_k = P_k y_k + (1 - P_k) z_{k-1}``."""
    kept, total = 1 - prob, prob[..., None].to(states.dtype) * states
    if before is not None:
        total = torch.cat([total[:, :1] + (kept[:, :1] * before)[:, None].to(total.dtype), total[:, 1:]], dim=1)
    return recurrence(kept, total)


class Dynamic(Patching[RouterMemory]):
    in_stream = False
    can_split = False
    flops_change = True

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.target, self.ratio_loss_weight = config.target, config.ratio_loss_weight
        self.query, self.key = Linear(dim, dim), Linear(dim, dim)
        for layer in (self.query, self.key):  # at the start, the vectors themselves are compared
            nn.init.eye_(layer.weight)
            layer.lr_mult = config.lr_mult

    def new_memory(self, batch: int, device: torch.device) -> RouterMemory:
        return RouterMemory(self.key.matrix().new_zeros(batch, self.key.out_features))

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None,
                memory: RouterMemory | None, lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        if encoded is None:
            raise ValueError("learned ends need the encoder's vectors")
        with torch.autocast(tokens.device.type, enabled=False):  # in bf16, decisions could differ from those in decoding
            vectors = encoded.to(self.key.matrix().dtype)
            queries, keys = self.query(vectors), self.key(vectors)
            start = torch.zeros_like(keys[:, 0]) if memory is None else memory.key
            before = torch.cat([start[:, None], keys[:, :-1]], dim=1)
            prob = (0.5 - 0.5 * F.cosine_similarity(queries, before, dim=-1)).clamp(0, 1)
        prob = torch.where(positions == 0, 1.0, prob)
        if memory is not None:
            memory.key = latest(keys, lengths, memory.key)
        ends = prob >= 0.5
        return SoftBoundaries(ends, {"ratio": self.ratio_loss_weight * self._ratio_loss(ends, prob)}, boundary_prob=prob)

    def _ratio_loss(self, ends: Bool[Tensor, "batch seq"], prob: Float[Tensor, "batch seq"]) -> Float[Tensor, " batch"]:
        """The loss of each row. The minimum is 1, where the share of ends and the mean probability are both 1 / target."""
        n, share, mean = self.target, ends.to(prob.dtype).mean(dim=1), prob.mean(dim=1)
        return n / (n - 1) * ((n - 1) * share * mean + (1 - share) * (1 - mean))
