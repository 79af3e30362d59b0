"""Objectives that add a term to another objective: both read the same output of the model, so the model runs once."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stlm.config.bounds import Weight
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.objective import Objective, ObjectiveConfig, causal
from stlm.schedule import ScheduleConfig, between, linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class AddedConfig(ObjectiveConfig):
    """An objective plus a weighted term."""

    base: ObjectiveConfig = causal.Config()
    """The objective that the term is added to. It may add a term to another one itself."""
    weight: Weight = 1.0
    """Weight of the term at the start."""
    final_weight: Weight | None = None
    """Weight of the term at the end. Not set: as at the start."""
    schedule: ScheduleConfig = linear.Config()
    """The way from the first weight to the last."""

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Added:
        """The objective for models of this config. UserError if the model or the tokenizer lacks what it needs."""


class Added(Objective):
    """A subclass defines ``term``."""

    weight: Tensor

    def __init__(self, config: AddedConfig, tokenizer: Tokenizer, model: ModelConfig) -> None:
        super().__init__()
        self.base, self.config = config.base.build(tokenizer, model), config
        # a tensor, because compiled code is compiled anew when a number in Python changes
        self.register_buffer("weight", torch.tensor(float(config.weight)), persistent=False)

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        self.base.load_frozen(load)

    def set_progress(self, progress: float) -> None:
        self.base.set_progress(progress)
        config = self.config
        self.weight.fill_(between(config.schedule, config.weight, config.final_weight, progress))

    def prepare(self, batch: Batch, draws: Sequence[np.random.Generator], progress: float) -> Batch:
        return self.base.prepare(batch, draws, progress)

    def loss(self, model: LM, output: Output, batch: Batch) -> Loss:
        return self.base.loss(model, output, batch).plus(self.term(model, output, batch), self.weight)

    @abc.abstractmethod
    def term(self, model: LM, output: Output, batch: Batch) -> Loss:
        """The term, as a sum over the batch's weights. Its metrics are named after the kind."""


def per_target(nats: Tensor, batch: Batch, name: str, asked: Tensor | None = None, **metrics: tuple[Tensor, Tensor]) -> Loss:
    """A term that has a value for each target [batch, seq]. Rows that aren't ``asked`` [batch] add nothing; None: all are. The
    mean over rows that are is logged as ``loss/name``, and the metrics as ``name/``.
    """
    return _term((nats * batch.weights).sum(dim=1), batch, name, asked, metrics)


def per_row(values: Tensor, batch: Batch, name: str, asked: Tensor | None = None, **metrics: tuple[Tensor, Tensor]) -> Loss:
    """The same for a term that has a value for each row [batch]. A row counts as often as it has targets, so it doesn't matter
    how rows are split into batches.
    """
    return _term(values * batch.weights.sum(dim=1).to(values.dtype), batch, name, asked, metrics)


def _term(sums: Tensor, batch: Batch, name: str, asked: Tensor | None, metrics: dict[str, tuple[Tensor, Tensor]]) -> Loss:
    """A term with these sums [batch]."""
    counts = batch.weights.sum(dim=1)
    shown = counts if asked is None else counts * asked
    total = (sums if asked is None else sums * asked).sum()
    return Loss(total, counts.sum(), {f"loss/{name}": (total.detach(), shown.sum())}
                | {f"{name}/{figure}": value for figure, value in metrics.items()})
