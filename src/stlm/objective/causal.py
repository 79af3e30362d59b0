"""Prediction of the next token: maximum likelihood of the text."""

from __future__ import annotations

import dataclasses
import math

from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.objective import Objective, ObjectiveConfig
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(ObjectiveConfig):
    """Cross-entropy of the next token."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Causal:
        return Causal()


class Causal(Objective):
    def loss(self, model: LM, output: Output, batch: Batch) -> Loss:
        return next_token_loss(output, batch)


def next_token_loss(output: Output, batch: Batch) -> Loss:
    """Cross-entropy of the next token over the batch's weights, plus the losses of the model's parts."""
    surprisal = output.scores.surprisal(batch.targets)
    nats, count, n_bytes = (surprisal * batch.weights).sum(), batch.weights.sum(), (batch.n_bytes * batch.scored).sum()
    bits = (surprisal.detach() * batch.scored).sum() / math.log(2)
    metrics = {"loss": (nats.detach(), count), "bits_per_byte": (bits, n_bytes),
               "bytes_per_patch": (n_bytes, (output.ends & batch.scored).sum())}
    return Loss(nats, count, metrics).plus(output.auxiliary_loss(batch))
