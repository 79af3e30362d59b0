"""Which learning rate is best for each objective? For objectives.py.

    stlm compare recipes/objectives_rates.py --jobs 2

One seed: this finds a rate and claims no more.
"""

import dataclasses

from objectives import ARMS, at_rates
from objectives import RECIPE as OBJECTIVES

RATES = (3e-3, 6e-3)

RECIPE = dataclasses.replace(
    OBJECTIVES, question="Which learning rate is best for each objective?", rule="The lowest bits per byte, each by itself.",
    seeds=(0,), texts={}, tasks=(),
    arms=at_rates({f"{arm} at {rate}": (rate, flags) for arm, (_, flags) in ARMS.items() for rate in RATES}),
    baseline="causal at 0.003")
