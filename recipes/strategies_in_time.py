"""Which ways to train that pay at equal text pay for their time too? At equal seconds, on one thread each.

    stlm compare recipes/strategies_in_time.py --jobs 2
"""

import dataclasses

from strategies import ARMS, at_rate, rate_of
from strategies import RECIPE as STRATEGIES

SHAPE = "1 layer, all its parameters in rows"
PROMISING = ("as it is", SHAPE, "Muon, normalized", "Muon, 4 blocks, each 4th step whole, normalized", "SOAP",
             "Muon, SOAP outside the trunk")
BOTH = at_rate(ARMS[SHAPE] + ARMS["Muon, normalized"], rate_of("Muon, normalized"))

RECIPE = dataclasses.replace(
    STRATEGIES, question="Which ways to train help a model of about two million parameters, at equal seconds?",
    rule="A way counts where p is below 0.01.", equal="minutes", amount=6.0,
    arms={**{arm: at_rate(ARMS[arm], rate_of(arm)) for arm in PROMISING}, "1 layer, and Muon, normalized": BOTH})
