"""Does ``10m`` learn better where matrices learn by their width? Before the ladder takes its rates from it.

    stlm compare recipes/ladder.py --jobs 2

transfer.py says at two million whether the rule carries over. At ``10m`` it means that the local networks' matrices, of 128
inputs, learn at three times the rate of the trunk's, of 384.
"""

from local_10m import EVERY, POOLED

from stlm.compare.recipe import Recipe

RECIPE = Recipe(
    question="Does 10m learn better where matrices learn by their width?",
    rule="By width, if its mean is no higher than that of all alike.",
    equal="megabytes", amount=2.5,
    every=EVERY,
    arms={
        "all alike": POOLED,
        "by width": POOLED + "--optim.base-width 384",
        "by width, 3e-3": POOLED + "--optim.lr 3e-3 --optim.base-width 384",
    },
    baseline="all alike")
