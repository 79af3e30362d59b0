"""A small loss on the size of the logits (PaLM, Chowdhery et al. 2022, arXiv 2204.02311, section 5): log(Z)^2, where Z is the
sum of exp over the logits. It keeps logits from drifting.
"""

from __future__ import annotations

import dataclasses

from stlm.config.bounds import Weight
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.objective.added import Added, AddedConfig, per_target
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the squared log of the sum of exp over the logits."""

    weight: Weight = 1e-4
    """Weight of the term at the start."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> ZLoss:
        return ZLoss(self, tokenizer, model)


class ZLoss(Added):
    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        return per_target(output.scores.log_total().square(), batch, "z")
