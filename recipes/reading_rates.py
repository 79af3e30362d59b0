"""Which learning rate does each way of reading bytes want? For reading_bytes.py, so that all sides are tuned alike.

    stlm compare recipes/reading_rates.py --jobs 2
"""

import dataclasses

from reading_bytes import RECIPE as BYTES
from reading_bytes import arms

RATES = (1.5e-3, 3e-3, 6e-3)

RECIPE = dataclasses.replace(
    BYTES, question="Which learning rate does each way of reading bytes want?",
    rule="The lowest bits per byte with one seed, among rates a factor of two apart; where that is at the edge, go further.",
    amount=2.0, seeds=(0,), texts={},
    arms={f"{arm} at {rate}": words for rate in RATES
          for arm, words in arms(dict.fromkeys(arms({}), rate)).items()}, baseline=f"flat bytes at {RATES[1]}")
