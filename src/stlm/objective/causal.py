"""Predict the next symbol: maximum likelihood of the text."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor
from torch.nn import functional as F

from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.objective import Loss, Objective, ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class Config(ObjectiveConfig):
    """Cross-entropy of the next symbol."""

    def build(self) -> Causal:
        return Causal()


class Causal(Objective):
    def __call__(self, model: LM, batch: Batch) -> Loss:
        nats = surprisal(model(batch).logits, batch.targets) * batch.weights
        count = batch.weights.sum()
        bits = (nats * (batch.n_bytes > 0)).sum() / math.log(2)
        return Loss(nats.sum() / count.clamp(min=1), {
            "loss": (nats.sum().detach(), count), "bits_per_byte": (bits.detach(), batch.weighted_bytes)})


def surprisal(logits: Tensor, targets: Tensor) -> Tensor:
    """-log P(target) in nats, in at least float32: logits [batch, seq, symbol], targets [batch, seq]."""
    wide = logits if logits.dtype.itemsize > 4 else logits.float()
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
