"""Learning rates by stage: what reads and writes bytes learns at another rate than the trunk (Hwang et al. 2025, H-Net,
arXiv 2507.07955, section 2.3.3).

``--optim recipes.ideas.stages``, from the folder that holds ``recipes``. Measured by recipes/pooling.py.
"""

from __future__ import annotations

import dataclasses

from torch import nn
from torch.optim import Optimizer

from stlm.model.lm import LM
from stlm.optim import adamw, rate_of


@dataclasses.dataclass(frozen=True)
class Config(adamw.Config):
    """AdamW, with a learning rate of its own for all that isn't the trunk."""

    local: float = 2.0
    """Rate of all that isn't the trunk, as a multiple of the trunk's."""

    def build(self, model: nn.Module) -> list[Optimizer]:
        assert isinstance(model, LM)
        trunk = {id(parameter) for parameter in model.trunk.parameters()}
        for parameter in model.parameters():
            if id(parameter) not in trunk:
                parameter.rate = self.local * rate_of(parameter)  # type: ignore[attr-defined]
        return super().build(model)
