"""An exponential moving average (Polyak and Juditsky 1992; the form with a decay as in Tarvainen and Valpola 2017, arXiv
1703.01780, section 2).
"""

from __future__ import annotations

import dataclasses

from stlm.averaging import AveragingConfig, Moment
from stlm.config.bounds import ShareBelowOne


@dataclasses.dataclass(frozen=True)
class Config(AveragingConfig):
    """A moving average, in which older weights count less."""

    decay: ShareBelowOne = 0.99
    """What is left of the mean after a step. 0.99: about the last hundred steps count. At first it is the plain mean of all,
    so that the weights before the first step don't count."""

    def rate(self, moment: Moment, count: int) -> float:
        return max(1 - self.decay, 1 / (count + 1))
