"""What training minimises. The slot ``objective``."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from torch import nn

from stlm.config.slot import Slot
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Slot):
    """What training minimises."""

    package: ClassVar[str] = "stlm.objective"

    def of_trained(self) -> ObjectiveConfig:
        """For a run that goes on from trained weights: what changes in training has its final value."""
        changes = {}
        for name in (field.name for field in dataclasses.fields(self)):
            value, final = getattr(self, name), getattr(self, f"final_{name}", None)
            changes[name] = value.of_trained() if isinstance(value, ObjectiveConfig) else value if final is None else final
        return dataclasses.replace(self, **changes)

    @abc.abstractmethod
    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Objective:
        """The objective for models of this config. UserError if the model or the tokenizer lacks what it needs."""


class Objective(nn.Module, abc.ABC):
    """An objective may have its own parameters (further heads, predictors, baselines). They are trained, saved and resumed with
    the model's, but they aren't part of the model that is used after training.
    """

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        """Called before the first step of a new run. ``load(run, module)`` fills a module with the weights of another run."""

    def set_progress(self, progress: float) -> None:
        """Set the share of training that is over, 0 to 1."""

    def prepare(self, batch: Batch, draws: Sequence[np.random.Generator], progress: float) -> Batch:
        """The batch in the form that this objective needs: masked, noised or shuffled, for example. Its ends of patches are
        found later. ``draws``: for each row, a generator that is the same for the same row of the same run, so it doesn't
        matter how rows are split into batches. ``progress``: the share of training that will be over, 0 to 1; batches may be
        prepared some steps ahead.
        """
        return batch

    def forward(self, model: LM, batch: Batch) -> Loss:
        """The loss of one prepared batch."""
        return self.loss(model, model(batch), batch)

    @abc.abstractmethod
    def loss(self, model: LM, output: Output, batch: Batch) -> Loss:
        """The loss of the model's output for this batch, as a sum and a count. The sum can be differentiated."""
