"""The two changes of pooling.py that were better, with new seeds.

    stlm compare recipes/pooling_again.py --jobs 2

Of sixteen changes one or two look better by chance. A change counts if it is better again with new seeds.
"""

from pooling import BASE
from pooling import RECIPE as BEFORE

from stlm.compare.recipe import Recipe

TWICE = " --optim.local-lr-mult 2"

RECIPE = Recipe(
    question="Is a higher learning rate for all but the trunk better with new seeds, and is pooling by attention?",
    rule="The default changes where p is below 0.01 and it costs no more seconds.",
    equal=BEFORE.equal, amount=BEFORE.amount, every=BEFORE.every, seeds=(3, 4, 5, 6, 7),
    arms={"last byte": BASE, "all but the trunk at twice the rate": BASE + TWICE,
          "attention": BASE + " --model.pooling attention",
          "attention, twice the rate": BASE + " --model.pooling attention" + TWICE},
    baseline="last byte")
