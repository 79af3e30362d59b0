"""Means, intervals and tests are those of the textbooks."""

from __future__ import annotations

import math

import pytest

from stlm.compare.statistics import p_value, summary


def test_summary():
    found = summary([1.0, 2.0, 4.0])
    assert (found.mean, found.n) == (pytest.approx(7 / 3), 3)
    assert found.std == pytest.approx(math.sqrt(7 / 3))
    half = 4.302652729911275 * found.std / math.sqrt(3)  # t of 2 degrees of freedom, as tables have it
    assert (found.low, found.high) == (pytest.approx(found.mean - half), pytest.approx(found.mean + half))
    assert math.isnan(summary([1.0]).low)


def test_welch():
    # Welch's statistic and its degrees of freedom, written out
    a, b = [1.0, 2.0, 3.0], [3.0, 5.0, 7.0]
    t, freedom = -3 / math.sqrt(5 / 3), (5 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    from scipy import stats
    assert p_value(a, b) == pytest.approx(2 * stats.t.cdf(t, freedom))
    assert p_value(a, b) == pytest.approx(p_value(b, a))
    assert p_value(a, [2.0]) is None


def test_no_deviation_at_all():
    assert p_value([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert p_value([1.0, 1.0], [2.0, 2.0]) == 0.0
