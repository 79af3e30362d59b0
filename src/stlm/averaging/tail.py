"""The plain mean over the last part of a run (LAWA: Kaddour 2022, arXiv 2209.14981; here of every step)."""

from __future__ import annotations

import dataclasses

from stlm.averaging import AveragingConfig, Moment
from stlm.config.bounds import ShareAboveZero

BEGINS = 1e-9  # 1 - 0.2 is a little more than 0.8


@dataclasses.dataclass(frozen=True)
class Config(AveragingConfig):
    """The plain mean of the weights of all steps of the last part of the run."""

    share: ShareAboveZero = 0.2
    """The last share of the run (0 to 1). Before it begins, the present weights are used."""

    def rate(self, moment: Moment, count: int) -> float | None:
        return 1 / (count + 1) if moment.before >= 1 - self.share - BEGINS else None
