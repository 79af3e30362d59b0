"""No mean: the last weights are used."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from stlm.averaging import AveragingConfig, Moment


@dataclasses.dataclass(frozen=True)
class Config(AveragingConfig):
    """The last weights are used."""

    averages: ClassVar[bool] = False

    def rate(self, moment: Moment, count: int) -> None:
        return None
