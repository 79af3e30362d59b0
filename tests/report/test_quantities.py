"""Numbers on a page have few digits and a unit that fits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stlm.report.quantities import digits, duration, quantity


@pytest.mark.parametrize(("value", "shown"), [
    (0, "0"), (0.0001234, "0.000123"), (0.5, "0.500"), (9.996, "10.0"), (42, "42.0"), (999.7, "1,000"), (123456, "123,000"),
    (-3.14159, "-3.14"), (1e-30, "0.000000000000"), (math.nan, "nan"), (math.inf, "inf")])
def test_digits(value, shown):
    assert digits(value) == shown


@pytest.mark.parametrize(("value", "shown"), [
    (0, "0 FLOPs"), (812, "812 FLOPs"), (3_400_000, "3.40 MFLOPs"), (2.5e12, "2.50 TFLOPs"),
    (7e20, "700 EFLOPs"), (1500, "1.50 kFLOPs")])
def test_quantity(value, shown):
    assert quantity(value, "FLOPs") == shown


@pytest.mark.parametrize(("seconds", "shown"), [
    (0.04, "0.040 s"), (18.2, "18 s"), (75, "75 s"), (95, "1.6 minutes"), (361, "6.0 minutes"),
    (9000, "2.5 hours"), (0, "0 s")])
def test_duration(seconds, shown):
    assert duration(seconds) == shown


@given(value=st.floats(1e-9, 1e18))
def test_the_shown_number_is_near(value):
    assert float(digits(value).replace(",", "")) == pytest.approx(value, rel=0.006)
