"""Means, intervals and tests over seeds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Summary:
    """mean, std: over n seeds; std is None for one seed. low, high: the 95 % confidence interval of the mean, by Student's t;
    NaN for one seed.
    """

    mean: float
    std: float | None
    n: int
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Mean, deviation and interval of at least one value."""
    from scipy import stats

    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Summary(mean, None, n, math.nan, math.nan)
    std = statistics.stdev(values)
    half = float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n)
    return Summary(mean, std, n, mean - half, mean + half)


def vague(mean: float, interval: Sequence[float] | None) -> bool:
    """Whether an interval says nothing: it is wider than the mean itself, as it often is with two values."""
    return interval is not None and interval[1] - interval[0] > abs(mean)


def p_value(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """The probability of a difference of means at least as large by chance: Welch's t-test, two-sided. None with fewer than two
    seeds.

    It isn't corrected for the number of arms: of twenty arms without an effect, about one is below 0.05 by chance.
    """
    from scipy import stats

    if min(len(values), len(baseline)) < 2:
        return None
    if statistics.pstdev(values) == statistics.pstdev(baseline) == 0:
        return 1.0 if statistics.fmean(values) == statistics.fmean(baseline) else 0.0
    return float(stats.ttest_ind(values, baseline, equal_var=False).pvalue)


def shown_p(p: float | None) -> str:
    """A p-value as shown in tables; "" if there is none."""
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
