"""Unlikelihood of repetition (Welleck et al. 2019, arXiv 1908.04319), for text that doesn't repeat itself.

Where the last few tokens were in the document before, the token that followed them then is pushed away, unless it is the right
one: the loss is -log(1 - p) of it. The paper pushes all earlier tokens away, which makes no sense for bytes.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch

from stlm.config.bounds import Range
from stlm.data.batch import Batch
from stlm.model.embedding.recall import last_occurrences
from stlm.model.layout import segment_positions
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.objective.added import Added, AddedConfig, per_target
from stlm.text.tokenizer import Tokenizer

SUREST = 1 - 1e-4  # the largest probability; its loss is 9.2 nats


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the unlikelihood of tokens that would repeat the text."""

    length: Annotated[int, Range(1, 256)] = 8
    """How many tokens must have been in the document before."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Unlikelihood:
        return Unlikelihood(self, tokenizer, model)


class Unlikelihood(Added):
    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.length = config.length

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        tokens, seq = batch.inputs, batch.inputs.shape[1]
        segment_ids, _ = segment_positions(tokens == model.bos)
        before = last_occurrences(tokens, segment_ids, (self.length,), seq, seq)[..., 0]
        again = tokens.gather(1, (before + 1).clamp(max=seq - 1))
        wrong = (before >= 0) & (again != batch.targets)
        probability = (-output.scores.surprisal(again)).exp().clamp(max=SUREST)
        nats = torch.where(wrong, -torch.log1p(-probability), 0.0)
        return per_target(nats, batch, "repeats", batch.unchanged)  # hidden tokens repeat without meaning it
