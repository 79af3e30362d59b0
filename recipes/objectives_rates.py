"""Which learning rate is best for each objective? For objectives.py, which has the best ones.

    stlm compare recipes/objectives_rates.py --jobs 2

Each objective has the rate that it has there, half of it and twice as much. One seed: this finds a rate and claims no more.
"""

import dataclasses

from objectives import ARMS, RATES
from objectives import RECIPE as OBJECTIVES
from strategies import at_rate

RECIPE = dataclasses.replace(
    OBJECTIVES, question="Which learning rate is best for each objective?", rule="The lowest bits per byte, each by itself.",
    seeds=(0,), texts={}, tasks=(), amount=8.0,
    arms={f"{arm} at {times * rate:g}": at_rate(ARMS[arm], times * rate)
          for arm, rate in RATES.items() for times in (0.5, 1, 2)},
    baseline="causal at 0.003")
