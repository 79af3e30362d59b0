"""What a step computes for one batch: the model and the objective as one module."""

from __future__ import annotations

import torch
from torch import nn

from stlm.data.batch import Batch
from stlm.model.lm import LM
from stlm.model.loss import Loss
from stlm.objective import Objective


class ModelWithLoss(nn.Module):
    """A batch in, its loss out. It is what is compiled, and what runs on several processes."""

    def __init__(self, model: LM, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, batch: Batch) -> Loss:
        return self.objective(self.model, batch)
