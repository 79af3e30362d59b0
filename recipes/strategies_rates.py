"""Which learning rate is best for each optimizer? For strategies.py.

    stlm compare recipes/strategies_rates.py --jobs 2

One seed: this finds a rate and claims no more.
"""

import dataclasses

from strategies import ARMS, at_rate, usual
from strategies import RECIPE as STRATEGIES

OPTIMIZERS = [arm for arm in ARMS if arm == "as it is" or arm.startswith(("Muon", "SOAP"))]

RECIPE = dataclasses.replace(
    STRATEGIES, question="Which learning rate is best for each optimizer?", rule="The lowest bits per byte, each by itself.",
    seeds=(0,), arms={f"{arm} at {factor:g}": at_rate(ARMS[arm], factor * usual(arm))
                      for arm in OPTIMIZERS for factor in (0.5, 1.0, 2.0)},
    baseline="as it is at 1")
