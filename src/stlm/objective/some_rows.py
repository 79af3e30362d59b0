"""Objectives that change some of the rows; the other rows are read as they are."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from stlm.config.bounds import Share
from stlm.data.batch import Batch
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.output import Output
from stlm.objective import Objective, ObjectiveConfig
from stlm.objective.causal import next_token_loss
from stlm.schedule import ScheduleConfig, between, linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SomeRowsConfig(ObjectiveConfig):
    """Some rows are changed, the others are predicted as they are."""

    ratio: Share = 0.25
    """Share of the rows that are changed at the start."""
    final_ratio: Share | None = None
    """Share of the rows that are changed at the end. Not set: as at the start."""
    schedule: ScheduleConfig = linear.Config()
    """The way from the first ratio to the last."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A changed row: its inputs, its targets and their weights, each [seq_len]."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class SomeRows(Objective):
    """A subclass defines ``changed``. The bits of changed rows don't count as bits of the text, but their bytes were read."""

    two_way: bool = False
    """Whether changed rows are read in both directions, in the parts of the model that can."""

    def __init__(self, config: SomeRowsConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config, self.bos, self.hidden = config, tokenizer.bos, hidden_token(tokenizer)

    @abc.abstractmethod
    def changed(self, tokens: np.ndarray, counted: np.ndarray, draw: np.random.Generator) -> Row:
        """The changed row. tokens: seq_len + 1; counted: which of the seq_len targets belong to the row."""

    def prepare(self, batch: Batch, draws: Sequence[np.random.Generator], progress: float) -> Batch:
        ratio = between(self.config.schedule, self.config.ratio, self.config.final_ratio, progress)
        inputs, targets, weights, scored = (each.clone() for each in (batch.inputs, batch.targets, batch.weights, batch.scored))
        chosen = torch.zeros(len(inputs), dtype=torch.bool)
        for row in range(len(inputs)):
            draw = draws[row]
            if draw.random() < ratio:
                tokens = torch.cat([inputs[row, :1], targets[row]]).numpy()
                new = self.changed(tokens, batch.counted[row].numpy(), draw)
                for old, array in ((inputs, new.inputs), (targets, new.targets), (weights, new.weights)):
                    old[row] = torch.from_numpy(array)
                scored[row], chosen[row] = False, True
        return dataclasses.replace(batch, inputs=inputs, targets=targets, weights=weights, scored=scored,
                                   bidirectional=chosen if self.two_way else None)

    def loss(self, model: LM, output: Output, batch: Batch) -> Loss:
        return next_token_loss(output, batch)


def hidden_token(tokenizer: Tokenizer) -> int:
    """The token that stands for hidden ones: the tokenizer's own, or the byte 255, which is in no UTF-8 text. UserError if
    there is neither.
    """
    if tokenizer.mask is not None:
        return tokenizer.mask
    if b"\xff" in tokenizer.token_bytes:
        return tokenizer.token_bytes.index(b"\xff")
    raise UserError("objective: this tokenizer has no token that can stand for hidden ones; use the tokenizer bytes or bpe")


def check_spans(hidden: float, mean: float, fields: str) -> None:
    """ValueError if spans of this mean length, which lie apart, can't cover this share. fields: the names of both."""
    if hidden > mean / (mean + 1):
        raise ValueError(f"{fields}: spans of {mean:g} tokens lie at least one apart, so they can hide "
                         f"{mean / (mean + 1):.3g} of the tokens at most")


def spans(n: int, share: float, mean: float, draw: np.random.Generator) -> list[tuple[int, int]]:
    """Spans (start, end) that cover about ``share`` of ``n`` places. They lie apart, and ``mean`` is their mean length."""
    found, start, gap = list[tuple[int, int]](), -1, max(1.0, mean * (1 - share) / share)
    while (start := start + int(draw.geometric(1 / gap))) < n:
        end = min(n, start + int(draw.geometric(1 / mean)))
        found.append((start, end))
        start = end
    return found
