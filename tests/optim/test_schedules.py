"""Shapes of change against closed forms, and which of them a learning rate may have."""

from __future__ import annotations

import itertools
import math

import pytest

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.errors import UserError
from stlm.schedule import ScheduleConfig, between, constant, cosine, early, linear, rate_factor, sqrt, triangle
from stlm.train.run_config import RunConfig, TrainConfig

REMAINING = [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(("schedule", "factors"), [
    (linear.Config(), [1, 0.75, 0.5, 0.25, 0]), (constant.Config(), [1, 1, 1, 1, 1]), (triangle.Config(), [0, 0.5, 1, 0.5, 0]),
    (cosine.Config(), [1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4, 0]),
    (sqrt.Config(), [1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0]),
    (early.Config(until=0.5), [1, 1, 0, 0, 0]), (early.Config(until=0.25, fall=0.5), [1, 1, 0.5, 0, 0]),
    (early.Config(until=0.0, fall=1.0), [1, 0.75, 0.5, 0.25, 0])], ids=str)
def test_closed_forms(schedule, factors):
    assert [schedule.factor(remaining) for remaining in REMAINING] == pytest.approx(factors, abs=1e-12)


@pytest.mark.parametrize("kind", kinds(ScheduleConfig))
def test_every_factor_is_between_zero_and_one(kind):
    """So a cooldown, a weight decay and a weight stay between their ends."""
    schedule = decode(RunConfig, {"train": {"weight_decay_schedule": kind}}, RunConfig()).train.weight_decay_schedule
    values = [schedule.factor(remaining / 200) for remaining in range(200, -1, -1)]
    assert all(0 <= value <= 1 for value in values) and max(values) == pytest.approx(1)
    assert kind == "triangle" or all(a >= b for a, b in itertools.pairwise(values))


def test_warm_up_stable_cooldown():
    rates = [rate_factor(linear.Config(), step, step / 100, 10, 0.4) for step in range(100)]
    assert rates[:10] == [pytest.approx((i + 1) / 11) for i in range(10)]
    assert rates[10:60] == [1.0] * 50
    assert all(a > b for a, b in itertools.pairwise(rates[60:]))
    assert 0 < rates[-1] < 0.03


def test_a_rate_need_not_fall():
    assert rate_factor(linear.Config(), 99, 0.99, 10, 0.0) == 1.0
    assert rate_factor(constant.Config(), 99, 0.99, 10, 0.4) == 1.0


def test_a_triangle_is_one_cycle_over_the_whole_run():
    rates = [rate_factor(triangle.Config(), step, step / 100, 0, 1.0) for step in range(100)]
    assert rates[0] == 0 and rates[50] == 1.0 and rates[75] == pytest.approx(0.5)


@pytest.mark.parametrize(("fields", "said"), [
    ({"schedule": "triangle"}, "train: schedule: the shape triangle doesn't begin at 1, so it goes only with cooldown = 1"),
    ({"schedule": {"kind": "early", "until": 0.2, "fall": 0.1}}, "the learning rate is 0 for half of the cooldown"),
    ({"schedule": {"kind": "early", "until": 0.7, "fall": 0.4}}, "until = 0.7 and fall = 0.4 have to be at most 1 together")])
def test_shapes_that_a_learning_rate_cannot_have(fields, said):
    with pytest.raises(UserError) as caught:
        decode(RunConfig, {"train": fields}, RunConfig())
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [
    {"schedule": triangle.Config(), "cooldown": 1.0}, {"schedule": triangle.Config(), "cooldown": 0.0},
    {"schedule": constant.Config()}, {"schedule": early.Config(until=0.6)},
    {"weight_decay_schedule": triangle.Config()}, {"weight_decay_schedule": early.Config(until=0.1)}], ids=str)
def test_shapes_that_may_be(fields):
    TrainConfig(steps=5, **fields)


def test_a_value_on_its_way():
    assert [between(linear.Config(), 0.5, 0.1, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.3, 0.1])
    assert [between(triangle.Config(), 0.5, 0.1, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.5, 0.1])
