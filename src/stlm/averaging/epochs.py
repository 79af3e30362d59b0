"""The plain mean of the weights at the ends of the last epochs (stochastic weight averaging, Izmailov et al. 2018, arXiv
1803.05407).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from stlm.averaging import AveragingConfig, Moment
from stlm.config.bounds import Count


@dataclasses.dataclass(frozen=True)
class Config(AveragingConfig):
    """The plain mean of the weights at the ends of the last epochs. They are counted back from the end of the run."""

    by_epochs: ClassVar[bool] = True
    n: Count = 3
    """Number of these epochs. Before the first of them ends, the present weights are used."""

    def rate(self, moment: Moment, count: int) -> float | None:
        whole = moment.epochs / moment.after if moment.after > 0 else math.inf  # epochs of the run, as far as is known
        left = math.ceil((1 - moment.after) * whole) if moment.after > 0 else math.inf
        due = max(1, min(self.n, round(whole) if whole < math.inf else self.n)) - left  # as many should be in the mean by now
        if due <= 0:
            return None
        return 1 / (count + 1) if due > count else 0.0
