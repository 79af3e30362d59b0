"""Prediction of the latent state of the next patch (Teoh et al. 2025, arXiv 2511.05963).

A small network predicts the trunk's next output from its present one and from the bytes of the next patch. So the trunk's
outputs have to hold what is needed to go on from them. The target gets no gradient. In addition, states must not collapse: the
standard deviation of each number over a row is pushed above a limit (VICReg, Bardes et al. 2022, arXiv 2105.04906). How far
they have collapsed to one is logged: ``latent/deviation`` falls to 0 and ``latent/cosine`` rises to 1. States that all lie on
one line through zero aren't seen so.
"""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

from stlm.config.bounds import Positive, Weight
from stlm.data.batch import Batch
from stlm.model.layout import means
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.nn.norm import rms_norm
from stlm.objective.added import Added, AddedConfig, per_row
from stlm.objective.patches import Predictor, mean_of_row, of_several, patches_of, shifted, spread, trunk_width
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the error of a prediction of the trunk's next output."""

    given: bool = True
    """The prediction also reads the bytes of the next patch."""
    guard: Weight = 1.0
    """Weight of the loss that keeps states apart."""
    deviation: Positive = 0.5
    """That loss acts where the standard deviation of a number is below this; it is 1 at most."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> NextLatent:
        return NextLatent(self, tokenizer, model)


class NextLatent(Added):
    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.given, self.guard, self.deviation = config.given, config.guard, config.deviation
        self.predictor = Predictor(trunk_width(tokenizer, model), model.local_dim if config.given else 0)

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        patches = patches_of(model, output, batch)
        states, where, following = rms_norm(patches.states), patches.where, None
        if self.given:
            embedded = rms_norm(model.table[batch.inputs]).to(states.dtype)
            following = shifted(means(embedded, where.patch_of_byte, where.n_patches))
        off = (self.predictor(states, following) - shifted(states).detach()).abs()
        error = torch.where(off < 1, off.square() / 2, off - 0.5).mean(dim=2)
        deviation, cosine = spread(states, patches.exists)
        apart = F.relu(self.deviation - deviation).mean(dim=1) * (patches.exists.sum(dim=1) > 1)
        loss = mean_of_row(error, patches.follows) + self.guard * apart
        return per_row(loss, batch, "latent", patches.exists.any(dim=1), cosine=of_several(cosine, patches.exists),
                       deviation=of_several(deviation.mean(dim=1), patches.exists))
