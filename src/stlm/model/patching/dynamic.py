"""Patches whose ends are learned: dynamic chunking (H-Net, Hwang et al. 2025, arXiv 2507.07955, section 2.2).

A router ends a patch where a byte's vector is unlike the one before it. Nothing can be differentiated through that choice,
so three things teach it: answers are smoothed over patches by how sure their ends were, so that unsure ones matter
less; what a byte hears is weighed by how sure the choice at it was (a factor of 1, with a gradient); and a loss draws the
share of ends towards one in ``target``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.model.layout import latest
from stlm.model.patching import Boundaries, Patching, PatchingConfig
from stlm.nn.recurrence import recurrence
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """A patch ends where a learned router sees a change in the text."""

    target: float = 5.0
    """Mean number of tokens in a patch that training aims for."""
    ratio_loss_weight: float = 0.03
    """Weight of the ratio loss, which moves the mean length of patches to ``target``."""
    lr_mult: float = 1.0
    """Learning rate of the router, as a multiple of the model's."""

    def __post_init__(self) -> None:
        if self.target <= 1:
            raise ValueError("target has to be above 1")
        if self.ratio_loss_weight < 0 or self.lr_mult <= 0:
            raise ValueError("ratio_loss_weight has to be 0 or more, lr_mult above 0")

    def build(self, tokenizer: Tokenizer, dim: int) -> Dynamic:
        return Dynamic(dim, self)


@dataclasses.dataclass
class Memory:
    """The key of each row's last token."""

    key: Float[Tensor, "batch dim"]


class Dynamic(Patching):
    in_stream = False

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.target, self.ratio_loss_weight = config.target, config.ratio_loss_weight
        self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        for layer in (self.query, self.key):  # at first, the vectors themselves are compared
            nn.init.eye_(layer.weight)
            layer.weight.lr_mult = config.lr_mult  # type: ignore[attr-defined]

    def new_memory(self, batch: int, device: torch.device) -> Memory:
        return Memory(self.key.weight.new_zeros(batch, self.key.out_features))

    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None, memory: Any,
                lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        if encoded is None:
            raise ValueError("learned ends need the encoder's vectors")
        with torch.autocast(tokens.device.type, enabled=False):  # bf16 would decide otherwise than writing does later
            vectors = encoded.to(self.key.weight.dtype)
            queries, keys = self.query(vectors), self.key(vectors)
            start = torch.zeros_like(keys[:, 0]) if memory is None else memory.key
            before = torch.cat([start[:, None], keys[:, :-1]], dim=1)
            boundary_prob = (0.5 - 0.5 * F.cosine_similarity(queries, before, dim=-1)).clamp(0, 1)
        boundary_prob = torch.where(positions == 0, 1.0, boundary_prob)
        if memory is not None:
            memory.key = latest(keys, lengths, memory.key)
        ends = boundary_prob >= 0.5
        return Boundaries(ends, boundary_prob, {"ratio": self.ratio_loss_weight * self._ratio_loss(ends, boundary_prob)})

    def _ratio_loss(self, ends: Tensor, boundary_prob: Tensor) -> Tensor:
        """Least, at 1, where the share of ends and the mean chance are both 1 / target."""
        n, share, mean = self.target, ends.to(boundary_prob.dtype).mean(), boundary_prob.mean()
        return n / (n - 1) * ((n - 1) * share * mean + (1 - share) * (1 - mean))

    def dechunk(self, answers: Float[Tensor, "batch n dim"], boundary_prob: Float[Tensor, "batch n"],
               before: Float[Tensor, "batch dim"] | None) -> Float[Tensor, "batch n dim"]:
        """``z_k = P_k y_k + (1 - P_k) z_{k-1}``."""
        kept, total = 1 - boundary_prob, boundary_prob[..., None].to(answers.dtype) * answers
        if before is not None:
            total = torch.cat([total[:, :1] + (kept[:, :1] * before)[:, None].to(total.dtype), total[:, 1:]], dim=1)
        return recurrence(kept, total)

    def straight_through(self, heard: Float[Tensor, "batch seq dim"], cut: Boundaries) -> Float[Tensor, "batch seq dim"]:
        if cut.boundary_prob is None:
            raise ValueError("learned ends come with their chances")
        sure = torch.where(cut.ends, cut.boundary_prob, 1 - cut.boundary_prob)
        return heard * (sure + (1 - sure).detach())[..., None].to(heard.dtype)
