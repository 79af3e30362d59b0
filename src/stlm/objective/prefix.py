"""Prediction of units that begin like the next token (the shorter ones: GPT-2 speed runs, 2026).

Shorter: where the next token begins with another token, the longest such token counts as a right answer too. Only byte-pair
tokens have such beginnings. The best scores for this aren't those of the text, so let the weight fall to zero. Longer: where a
patch ends, the whole next patch is predicted, which is the next word with patches at white space. A word is one of ``rows``
classes, by a hash of its bytes.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from stlm.config.bounds import SizeOrNone, Weight
from stlm.data.batch import Batch
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.loss import Loss, figure
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.model.scores import Scores
from stlm.nn.weights import Role, linear
from stlm.objective.added import Added, AddedConfig, per_row
from stlm.objective.patches import mean_of_row, next_hashes, patches_of
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(AddedConfig):
    """Plus the cross-entropy of shorter and longer units that begin like the next token. With byte pairs, set `final_weight` to
    0."""

    weight: Weight = 0.2
    """Weight of the term at the start."""
    rows: SizeOrNone = 4096
    """Number of classes of the next patch. 0: longer units aren't predicted. Models without patches have none."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Prefix:
        return Prefix(self, tokenizer, model)


class Prefix(Added):
    shorter: Tensor

    def __init__(self, config: Config, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__(config, tokenizer, model)
        self.register_buffer("shorter", torch.tensor(beginnings(tokenizer.token_bytes)), persistent=False)
        self.any_shorter = bool((self.shorter >= 0).any())
        self.rows = 0 if model.patching.every_token else config.rows
        if not self.any_shorter and not self.rows:
            raise UserError("objective: prefix has nothing to predict: no token begins with another one, and there are no "
                            "patches; use the tokenizer bpe, or --model.patching whitespace with --objective.rows above 0")
        self.words = linear(model.local_dim, self.rows, zero=True, role=Role.TABLE) if self.rows else None

    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        total, metrics = batch.weights.new_zeros(()), {}
        if self.any_shorter:
            shorter = self.shorter[batch.targets]
            nats = output.scores.surprisal(shorter.clamp(min=0)) * (shorter >= 0) * batch.weights
            total, metrics["loss/shorter"] = total + nats.sum(), figure(nats.sum(), (batch.weights * (shorter >= 0)).sum())
        if self.words is not None:
            patches = patches_of(model, output, batch)
            scores = Scores(self.words(patches.where.at_ends(output.hidden)))
            nats = scores.surprisal(next_hashes(batch.inputs, patches.where, self.rows))
            longer = per_row(mean_of_row(nats, patches.follows), batch, "longer", patches.follows.any(dim=1))
            total, metrics = total + longer.total, metrics | longer.metrics
        return Loss(total, batch.weights.sum(), metrics)


def beginnings(token_bytes: list[bytes]) -> list[int]:
    """For each token the longest other token that it begins with, and -1 where there is none."""
    known = {data: token for token, data in reversed([*enumerate(token_bytes)]) if data}
    return [next((known[data[:size]] for size in range(len(data) - 1, 0, -1) if data[:size] in known), -1)
            for data in token_bytes]
