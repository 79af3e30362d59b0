"""Prediction of several future tokens (Gloeckle et al. 2024, arXiv 2404.19737).

For each of the tokens after the next one, a small layer predicts it from the same vectors. So these vectors have to contain
more about the following text. Generation and scoring predict only the next token, and the small layers are not part of the
model that is used after training.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stlm.config.bounds import Range
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss, figure
from stlm.model.model_config import ModelConfig
from stlm.model.scores import Scores
from stlm.nn.norm import RMSNorm
from stlm.nn.weights import linear
from stlm.objective import Objective, ObjectiveConfig
from stlm.objective.causal import next_token_loss
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(ObjectiveConfig):
    """Cross-entropy of the next token, and of some tokens after it."""

    further: Annotated[int, Range(1, 256)] = 3
    """How many tokens after the next one are predicted too."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> MultiByte:
        return MultiByte(model.local_dim, self.further)


class MultiByte(Objective):
    def __init__(self, dim: int, further: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(linear(dim, dim, zero=True) for _ in range(further))
        self.norm = RMSNorm(dim)

    def forward(self, model: LM, batch: Batch) -> Loss:
        output = model(batch)
        loss, hidden = next_token_loss(output, batch), output.hidden
        further = self._further(hidden, model.table.to(hidden.dtype), batch)
        seq_len, n = batch.targets.shape[1], len(self.steps)
        share = seq_len / sum(max(1, seq_len - step) for step in range(1, n + 1))  # so that each token of a row counts once
        return dataclasses.replace(loss, metrics=loss.metrics | {"loss/further": figure(share * further, loss.count)}).plus(
            Loss(further, loss.count), weight=share)

    def _further(self, hidden: Float[Tensor, "batch seq dim"], table: Float[Tensor, "token dim"], batch: Batch) -> Tensor:
        """The summed surprisal of the tokens after the next one, in nats. Tokens past the end of the row don't count."""
        total = hidden.new_zeros((), dtype=batch.weights.dtype)
        for number, layer in enumerate(self.steps, start=1):
            logits = F.linear(self.norm(hidden + layer(hidden)), table)
            nats = Scores(logits[:, :-number]).surprisal(batch.targets[:, number:])
            total = total + (nats * batch.weights[:, number:]).sum()
        return total
