"""Means, intervals and tests are those of the textbooks."""

from __future__ import annotations

import math

import pytest

from stlm.compare.statistics import p_value, summary, vague
from stlm.compare.verdict import verdicts


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


@pytest.mark.parametrize(("values", "says"), [
    ([2.0], "+100.0 % bits per byte against a; with one seed nothing can be said about chance"),
    ([1.1, 1.11], "worse than a (+10.5 % bits per byte, p = 0.025, n = 2)"),
    ([0.5, 0.501, 0.502], "better than a (-49.9 % bits per byte, p < 0.001, n = 3 and 2)"),
    ([1.0, 1.2], "no difference from a shown (+10.0 % bits per byte, p = 0.500, n = 2)"),
    ([1.0, 1.0], "no difference from a shown (+0.0 % bits per byte, p = 1.000, n = 2)")])
def test_verdicts(values, says):
    base = [1.0, 1.0] if values == [1.0, 1.0] else [0.999, 1.001]
    arms = {"b": {"mean": sum(values) / len(values), "n": len(values), "p": {"a": p_value(values, base)}},
            "a": {"mean": 1.0, "n": 2, "p": {}}}
    assert verdicts({"arms": arms, "baseline": "a"}) == [f"b: {says}"]
    assert verdicts({"arms": {"b": arms["b"]}, "baseline": "a"}) == []  # the baseline isn't there yet


@pytest.mark.parametrize(("interval", "says_nothing"), [
    ([-0.761, 7.369], True), ([1.9, 2.1], False), ([0.1, 3.9], True), ([1.1, 2.9], False), (None, False)])
def test_intervals_that_say_nothing(interval, says_nothing):
    assert vague(sum(interval) / 2 if interval else 2.0, interval) is says_nothing
