"""Which learning rate is best for each way to train? For strategies.py.

    stlm compare recipes/strategies_rates.py --jobs 2

One seed, and equal text instead of seconds, so that two may run at a time: this finds a rate and claims no more.
"""

import dataclasses

from strategies import ARMS, at_rate
from strategies import RECIPE as STRATEGIES

RECIPE = dataclasses.replace(
    STRATEGIES, question="Which learning rate is best for each way to train?", rule="The lowest bits per byte, each by itself.",
    equal="megabytes", amount=4.0, seeds=(0,),
    arms={f"{arm} at {factor:g}": at_rate(arm, factor) for arm in ARMS for factor in (0.5, 1.0, 2.0)},
    baseline="as it is at 1")
