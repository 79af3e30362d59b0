"""Which learning rate does each way of reading bytes want? For reading_bytes.py, so that all sides are tuned alike.

    stlm compare recipes/reading_rates.py --jobs 2
"""

import dataclasses

from reading_bytes import RATES as BEST
from reading_bytes import RECIPE as BYTES
from reading_bytes import arms

RATES = (1.5e-3, 3e-3, 6e-3)
SWEPT = [arm for arm in arms({}) if arm not in ("stride 4", "stride 8")]  # these take the rate of stride 6

ARMS = {f"{arm} at {rate}": arms({arm: rate})[arm] for rate in RATES for arm in SWEPT}
ARMS |= {f"{arm} at 0.012": arms({arm: 0.012})[arm] for arm in SWEPT if BEST.get(arm) == RATES[-1]}

RECIPE = dataclasses.replace(
    BYTES, question="Which learning rate does each way of reading bytes want?",
    rule="The lowest bits per byte with one seed, among rates a factor of two apart; where that is at the edge, go further.",
    amount=2.0, seeds=(0,), texts={}, arms=ARMS, baseline=f"flat bytes at {RATES[1]}")
