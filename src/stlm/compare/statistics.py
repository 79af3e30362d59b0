"""Means, intervals and tests over seeds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence


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


def p_value(values: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """The probability of a mean change at least as large by chance: the paired t-test over seeds, two-sided. values, baseline:
    by seed. None with fewer than two seeds that both have.

    Runs of one seed read the same text in the same order. So a seed that is lucky is lucky for all arms, and pairs leave that
    out. The value isn't corrected for the number of arms: of twenty arms without an effect, about one is below 0.05 by chance.
    """
    from scipy import stats

    changes = [values[seed] - baseline[seed] for seed in values if seed in baseline]
    if len(changes) < 2:
        return None
    if statistics.stdev(changes) < 1e-12:  # all changes are the same
        return 1.0 if abs(statistics.fmean(changes)) < 1e-12 else 0.0
    return float(stats.ttest_1samp(changes, 0.0).pvalue)


def shown_p(p: float | None) -> str:
    """A p-value as shown in tables; "" if there is none."""
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
