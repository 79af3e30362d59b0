"""Prediction of several future tokens (Gloeckle et al. 2024, arXiv 2404.19737).

For each of the tokens after the next one, a small layer predicts it from the same vectors. So these vectors have to contain
more about the following text. Generation and scoring predict only the next token, and the small layers are not part of the
model that is used after training.

Without these layers, the scores of the next token are compared with the tokens after it too, each with half the weight of the
one before. That only makes sense in the first part of training: let the weight fall to zero (GPT-2 speed runs, 2026).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from torch import nn
from torch.nn import functional as F

from stlm.config.bounds import Range
from stlm.data.batch import Batch
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.loss import Loss, figure
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.model.scores import Scores
from stlm.nn.norm import RMSNorm
from stlm.nn.weights import linear
from stlm.objective.added import Added, AddedConfig
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the cross-entropy of some tokens after the next one."""

    further: Annotated[int, Range(1, 256)] = 3
    """How many tokens after the next one are predicted too."""
    own_layers: bool = True
    """Predict each of them with a layer of its own. Without, the scores of the next token are compared with them too, with
    falling weights; set `final_weight` to 0 then."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> MultiByte:
        return (WithHeads if self.own_layers else MultiByte)(self, tokenizer, model)


class MultiByte(Added):
    """Compares the scores of the next token with the tokens after it, the n-th of them with the weight 2^-n."""

    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.further = config.further

    def prepare(self, batch: Batch, draws: Sequence[np.random.Generator], progress: float) -> Batch:
        """UserError if rows are too short."""
        if self.further >= batch.targets.shape[1]:
            raise UserError(f"objective.further = {self.further}: rows have {batch.targets.shape[1]} tokens; predict fewer "
                            "than that, or read longer rows (--train.seq-len, --batches.first-length)")
        return super().prepare(batch, draws, progress)

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        """The weighted surprisal of the tokens after the next one. Tokens past the end of the row, or of the document, don't
        count.
        """
        total, seq_len = batch.weights.new_zeros(()), batch.targets.shape[1]
        ends = (batch.targets == model.bos).long()
        document = ends.cumsum(dim=1) - ends
        for number in range(1, self.further + 1):
            targets = F.pad(batch.targets[:, number:], (0, number))  # as long as the row, because copies are at places of a row
            nats = self.scores(output, model, number).surprisal(targets)[:, :-number]
            weights = batch.weights[:, number:] * (document[:, number:] == document[:, :-number])
            total = total + self.share(number, seq_len) * (nats * weights).sum()
        count = batch.weights.sum()
        return Loss(total, count, {"loss/further": figure(total, count)})

    def scores(self, output: Output, model: LM, number: int) -> Scores:
        """The scores of the ``number``-th token after the next one."""
        return output.scores

    def share(self, number: int, seq_len: int) -> float:
        """The weight of that token."""
        return 0.5**number


class WithHeads(MultiByte):
    """Predicts each of these tokens with a layer of its own. All of them together count as much as the next tokens."""

    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        dim = model.local_dim
        self.steps = nn.ModuleList(linear(dim, dim, zero=True) for _ in range(config.further))
        self.norm = RMSNorm(dim)

    def scores(self, output: Output, model: LM, number: int) -> Scores:
        hidden = output.hidden
        return Scores(F.linear(self.norm(hidden + self.steps[number - 1](hidden)), model.table.to(hidden.dtype)))

    def share(self, number: int, seq_len: int) -> float:
        return seq_len / sum(seq_len - step for step in range(1, self.further + 1))
