"""Reconstruction of a patch from its own vector, without the trunk: the byte-level loss from embedding to head of the code of
arXiv 2405.14159.

The vector that the trunk would read goes straight to where the trunk's output goes, and small layers predict the first bytes of
the patch from it. So a patch's vector has to hold its spelling.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from stlm.config.bounds import Range, Weight
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.model.scores import Scores
from stlm.nn.norm import RMSNorm
from stlm.nn.weights import linear
from stlm.objective.added import Added, AddedConfig, per_row
from stlm.objective.patches import mean_of_row, patches_of, trunk_width
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the cross-entropy of a patch's own bytes, predicted from its vector."""

    weight: Weight = 0.1
    """Weight of the term at the start."""
    slots: Annotated[int, Range(1, 64)] = 8
    """How many of a patch's first tokens are predicted."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Reconstruct:
        return Reconstruct(self, tokenizer, model)


class Reconstruct(Added):
    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        dim = trunk_width(tokenizer, model)
        self.slots = nn.ModuleList(linear(dim, model.local_dim) for _ in range(config.slots))
        self.norm = RMSNorm(model.local_dim)

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        assert output.trunk.inputs is not None  # whole rows are read
        patches, vectors = patches_of(model, output, batch), model.backbone.from_trunk(output.trunk.inputs)
        end, exists, table = patches.where.end, patches.exists, model.table.to(vectors.dtype)
        index = torch.arange(batch.inputs.shape[1], device=end.device).expand_as(batch.inputs)
        last = F.pad(end, (0, 1))  # one more, for bytes of no patch
        start = last.scatter_reduce(1, patches.where.patch_of_byte, index, "amin")[:, :-1]
        nats = torch.zeros_like(end, dtype=batch.weights.dtype)
        for number, layer in enumerate(self.slots):
            at = start + number
            token = batch.inputs.gather(1, at.clamp(0, batch.inputs.shape[1] - 1))
            surprisal = Scores(F.linear(self.norm(layer(vectors)), table)).surprisal(token)
            nats = nats + surprisal * (exists & (at <= end))
        length = (end - start + 1).clamp(max=len(self.slots))
        return per_row(mean_of_row(nats / length.clamp(min=1), exists), batch, "reconstruct")
