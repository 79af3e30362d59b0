"""Which learning rate is best for each objective? For objectives.py.

    stlm compare recipes/objectives_rates.py --jobs 2

Each has the two middle rates, and the next one beyond the better of the two. One seed: this finds a rate and claims no more.
"""

import dataclasses

from objectives import ARMS
from objectives import RECIPE as OBJECTIVES
from strategies import at_rate

MIDDLE = (1.5e-3, 3e-3)
BEYOND = {"causal": 6e-3, "masked, 1 row in 16": 6e-3}

RECIPE = dataclasses.replace(
    OBJECTIVES, question="Which learning rate is best for each objective?", rule="The lowest bits per byte, each by itself.",
    seeds=(0,), texts={}, tasks=(), amount=8.0,
    arms={f"{arm} at {rate}": at_rate(flags, rate) for arm, flags in ARMS.items()
          for rate in (*MIDDLE, *((BEYOND[arm],) if arm in BEYOND else ()))},
    baseline="causal at 0.003")
