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


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_pairs():
    # the statistic and its degrees of freedom, written out: changes of -2, -3 and -4
    a, b = by_seed(1.0, 2.0, 3.0), by_seed(3.0, 5.0, 7.0)
    from scipy import stats
    assert p_value(a, b) == pytest.approx(2 * stats.t.cdf(-3 / (1 / math.sqrt(3)), 2))
    assert p_value(a, b) == pytest.approx(p_value(b, a)) == pytest.approx(stats.ttest_rel([1, 2, 3], [3, 5, 7]).pvalue)
    assert p_value(a, by_seed(2.0)) is None


def test_only_seeds_that_both_have_count():
    assert p_value({0: 1.0, 1: 2.0, 2: 9.0}, {1: 2.5, 0: 1.1}) == p_value(by_seed(1.0, 2.0), by_seed(1.1, 2.5))
    assert p_value({0: 1.0, 1: 2.0}, {1: 2.5, 2: 1.1}) is None


def test_what_a_seed_brings_to_all_arms_is_left_out():
    base, better = by_seed(1.0, 2.0, 3.0), by_seed(0.99, 1.991, 2.989)
    assert p_value(better, base) < 0.01
    assert p_value(better, dict(zip((2, 0, 1), base.values(), strict=True))) > 0.5


def test_no_deviation_at_all():
    assert p_value(by_seed(1.0, 1.0), by_seed(1.0, 1.0)) == 1.0
    assert p_value(by_seed(1.0, 1.0), by_seed(2.0, 2.0)) == 0.0
    assert p_value(by_seed(0.1, 0.2, 0.3), by_seed(0.4, 0.5, 0.6)) == 0.0  # but for rounding


@pytest.mark.parametrize(("values", "says"), [
    ([2.0], "+100.0 % bits per byte against a; with one seed nothing can be said about chance"),
    ([1.1, 1.103], "worse than a (+10.2 % bits per byte, p = 0.003, n = 2)"),
    ([0.5, 0.5021, 0.502], "better than a (-49.9 % bits per byte, p < 0.001, n = 2)"),
    ([1.0, 1.2], "no difference from a shown (+10.0 % bits per byte, p = 0.497, n = 2)"),
    ([0.999, 1.001], "no difference from a shown (+0.0 % bits per byte, p = 1.000, n = 2)")])
def test_verdicts(values, says):
    base = by_seed(0.999, 1.001)
    arms = {name: {"mean": sum(found) / len(found), "n": len(found), "seeds": [{"seed": n} for n in range(len(found))],
                   "p": {"a": p_value(by_seed(*found), base)}} for name, found in (("b", values), ("a", [*base.values()]))}
    assert verdicts({"arms": arms, "baseline": "a"}) == [f"b: {says}"]
    assert verdicts({"arms": {"b": arms["b"]}, "baseline": "a"}) == []  # the baseline isn't there yet


@pytest.mark.parametrize(("interval", "says_nothing"), [
    ([-0.761, 7.369], True), ([1.9, 2.1], False), ([0.1, 3.9], True), ([1.1, 2.9], False), (None, False)])
def test_intervals_that_say_nothing(interval, says_nothing):
    assert vague(sum(interval) / 2 if interval else 2.0, interval) is says_nothing
