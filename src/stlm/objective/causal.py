"""Predict the next token: maximum likelihood of the text."""

from __future__ import annotations

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor

from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.scores import Scores
from stlm.objective import Loss, Objective, ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class Config(ObjectiveConfig):
    """Cross-entropy of the next token."""

    def build(self) -> Causal:
        return Causal()


class Causal(Objective):
    def __call__(self, model: LM, batch: Batch) -> Loss:
        output = model(batch)
        nats = output.scores.surprisal(batch.targets) * batch.weights
        count, n_bytes = batch.weights.sum(), batch.weighted_bytes
        bits = (nats * batch.scored).sum() / math.log(2)
        total, metrics = nats.sum() / count.clamp(min=1), {
            "loss": (nats.sum().detach(), count), "bits_per_byte": (bits.detach(), n_bytes),
            "bytes_per_patch": (n_bytes, (output.ends * batch.weights).sum())}
        parts = output.losses if output.ahead is None else {**output.losses, "ahead": further(output.ahead, batch)}
        for scores, weight in output.early:
            total = total + weight * (scores.surprisal(batch.targets) * batch.weights).sum() / count.clamp(min=1)
        for name, loss in parts.items():
            total = total + loss
            metrics[f"loss/{name}"] = (loss.detach(), count.new_ones(()))
        metrics |= {name: (figure, count.new_ones(())) for name, figure in output.figures.items()}
        return Loss(total, metrics)


def further(ahead: Float[Tensor, "batch seq n token"], batch: Batch) -> Tensor:
    """The mean surprisal of the tokens after the next one, in nats: a row's end and the tokens past it don't count."""
    total, counted = ahead.new_zeros(()).float(), batch.weights.new_zeros(())
    for place in range(ahead.shape[2]):
        step = place + 1
        nats = Scores(ahead[:, :-step, place]).surprisal(batch.targets[:, step:])
        total, counted = total + (nats * batch.weights[:, step:]).sum(), counted + batch.weights[:, step:].sum()
    return total / counted.clamp(min=1)
