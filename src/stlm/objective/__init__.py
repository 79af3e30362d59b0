"""What a model is trained for. The slot ``objective``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from torch import nn

from stlm.config.slot import Slot
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Slot):
    """What training minimises."""

    package: ClassVar[str] = "stlm.objective"

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Objective:
        """The objective for models of this description. UserError where it needs what they or the tokenizer lack."""


class Objective(nn.Module, abc.ABC):
    """Its own parameters (further heads, predictors, baselines) are trained, saved and resumed beside the model's, and are no
    part of the model that is used.
    """

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Before a new run's first step: ``load(run, module)`` fills a module with the weights of another run."""

    def set_progress(self, progress: float) -> None:
        """How much of training is over, 0 to 1."""

    def prepare(self, batch: Batch, draw: np.random.Generator) -> Batch:
        """The batch as this objective wants it: masked, noised, shuffled. It has no ends of patches yet. ``draw`` is the same
        for the same batch of the same run.
        """
        return batch

    @abc.abstractmethod
    def forward(self, model: LM, batch: Batch) -> Loss:
        """The loss of one batch as a sum and a count, with the graph to differentiate it."""
