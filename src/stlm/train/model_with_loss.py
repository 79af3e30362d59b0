"""What a step computes for one batch: the model and the objective as one module."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import exact
from stlm.objective import Objective


@dataclasses.dataclass(frozen=True)
class StepLoss:
    """total, count: those of `Loss`. names, figures: its metrics, the sums and counts of all of them in one tensor."""

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]
    names: tuple[str, ...]
    figures: Float[Tensor, "name 2"]

    def kept(self) -> StepLoss:
        """Count and figures in memory of their own. Whole steps in CUDA graphs write every step's results to the same place."""
        return dataclasses.replace(self, count=self.count.clone(), figures=self.figures.clone())


class ModelWithLoss(nn.Module):
    """A batch in, its loss out. It is what is compiled, and what runs on several processes."""

    def __init__(self, model: LM, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, batch: Batch) -> StepLoss:
        loss = self.objective(self.model, batch)
        pairs = [exact(item) for pair in loss.metrics.values() for item in pair]
        figures = torch.stack(pairs).view(-1, 2) if pairs else exact(loss.total.new_zeros(0, 2))
        return StepLoss(loss.total, loss.count, tuple(loss.metrics), figures)
