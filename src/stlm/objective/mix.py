"""The weighted sum of two objectives, each of which may be a mix. The weight of the second may change in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stlm.config.bounds import Weight
from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.model.model_config import ModelConfig
from stlm.model.output import Output
from stlm.objective import Objective, ObjectiveConfig, causal, masked_next
from stlm.schedule import ScheduleConfig, between, linear
from stlm.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Config(ObjectiveConfig):
    """The sum of two objectives, each with its own forward pass over the same text."""

    first: ObjectiveConfig = causal.Config()
    """The objective with weight 1. What it counts (its targets) is what both sums are divided by."""
    second: ObjectiveConfig = masked_next.Config(ratio=1.0)
    """The objective that is added."""
    weight: Weight = 0.5
    """Weight of the second objective at the start."""
    final_weight: Weight | None = None
    """Weight of the second objective at the end. Not set: as at the start."""
    schedule: ScheduleConfig = linear.Config()
    """The way from the first weight to the last."""

    def build(self, tokenizer: Tokenizer, model: ModelConfig) -> Mix:
        return Mix(self.first.build(tokenizer, model), self.second.build(tokenizer, model), self)


class Others(Sequence[np.random.Generator]):
    """For each row another generator than the one in ``draws``, so that the parts of a mix draw apart. Another ``number`` gives
    others.
    """

    def __init__(self, draws: Sequence[np.random.Generator], number: int) -> None:
        self._draws, self._number = draws, number

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, index: Any) -> Any:
        return self._draws[index].spawn(self._number + 1)[self._number]


class Mix(Objective):
    """Both objectives read the same rows. Each prepares them for itself and has its own forward pass."""

    weight: Tensor

    def __init__(self, first: Objective, second: Objective, config: Config) -> None:
        super().__init__()
        self.first, self.second, self.config = first, second, config
        # a tensor, because compiled code is compiled anew when a number in Python changes
        self.register_buffer("weight", torch.tensor(float(config.weight)), persistent=False)

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        self.first.load_frozen(load)
        self.second.load_frozen(load)

    def set_progress(self, progress: float) -> None:
        self.first.set_progress(progress)
        self.second.set_progress(progress)
        self.weight.fill_(between(self.config.schedule, self.config.weight, self.config.final_weight, progress))

    def prepare(self, batch: Batch, draws: Sequence[np.random.Generator], progress: float) -> Batch:
        """The first objective's batch, with the second one's as its last part."""
        first = self.first.prepare(batch, draws, progress)
        second = self.second.prepare(batch, Others(draws, len(first.parts)), progress)
        return dataclasses.replace(first, parts=(*first.parts, second))

    def loss(self, model: LM, output: Output, batch: Batch) -> Loss:
        *parts, second = batch.parts
        other = self.second(model, second)
        first = self.first.loss(model, output, dataclasses.replace(batch, parts=tuple(parts)))
        kind, taken = self.config.second.kind, {name.partition("/")[0] for name in first.metrics}
        kind = next(name for name in (kind, *(f"{kind}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
        named = {f"{kind}/{name}": value for name, value in other.metrics.items()}
        return first.plus(dataclasses.replace(other, metrics=named), self.weight)
