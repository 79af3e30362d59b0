"""Does ``10m`` with three layers learn better with learning rates by width? The ladder of presets takes its rates from this.

    stlm compare recipes/ladder.py --jobs 2

transfer.py shows at two million parameters whether the rule carries over to other widths. Here the rule gives matrices
of the local networks (128 inputs) three times the rate of the trunk's (384 inputs).
"""

from local_10m import EVERY, POOLED

from stlm.compare.recipe import Recipe

RECIPE = Recipe(
    question="Does 10m learn better with learning rates by width?",
    rule="By width, if its mean is no higher than that of all alike.",
    equal="megabytes", amount=2.5,
    every=EVERY,
    arms={
        "all alike": POOLED,
        "by width": POOLED + "--optim.base-width 384",
        "by width, 3e-3": POOLED + "--optim.lr 3e-3 --optim.base-width 384",
    },
    baseline="all alike")
