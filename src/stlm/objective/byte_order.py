"""Prediction of the order of upcoming tokens (token-order prediction, Zuhri et al. 2025, arXiv 2508.19228).

A further table scores every token by how soon it comes next. The goal is a softmax of minus the distances; the loss is its
cross-entropy (ListNet, Cao et al. 2007).
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from stlm.config.bounds import Range
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.nn.weights import Role, linear
from stlm.objective.added import Added, AddedConfig, per_target
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the cross-entropy of the order in which tokens come."""

    window: Annotated[int, Range(1, 4096)] = 32
    """How many tokens ahead the order is asked for."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> ByteOrder:
        return ByteOrder(self, tokenizer, model)


class ByteOrder(Added):
    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.window = config.window
        self.table = linear(model.local_dim, tokenizer.vocab_size, zero=True, role=Role.TABLE)

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        distance = distances(batch.targets, model.bos, len(self.table.weight)).to(batch.weights.dtype)
        goal = (-distance).masked_fill(distance >= self.window, -torch.inf).softmax(dim=2)
        scores = self.table(output.hidden).to(goal.dtype).log_softmax(dim=2)
        nats = -(goal * scores).sum(dim=2)
        return per_target(nats, batch, "order", batch.unchanged)  # changed rows may have been read in both directions


def distances(targets: Int[Tensor, "batch seq"], bos: int, vocab_size: int) -> Int[Tensor, "batch seq token"]:
    """How many places after each target a token comes first, 0 for the target itself; the row's length for tokens that don't
    come any more in the document.
    """
    seq = targets.shape[1]
    index = torch.arange(seq, device=targets.device)
    own = F.one_hot(targets, vocab_size).bool()
    first = torch.where(own, index[:, None], 2 * seq).flip(1).cummin(dim=1).values.flip(1)
    close = first[..., bos:bos + 1]  # the document's end
    return torch.where(first <= close, first - index[:, None], seq).clamp(max=seq)
