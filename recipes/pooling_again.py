"""The two changes of pooling.py that were better, with seeds that it didn't have.

    stlm compare recipes/pooling_again.py --jobs 2

Of sixteen changes one or another looks better by chance; what is better again, with fresh seeds, is.
"""

from pooling import BASE
from pooling import RECIPE as BEFORE

from stlm.compare.recipe import Recipe

TWICE = " --optim.local-lr-mult 2"

RECIPE = Recipe(
    question="Is a higher learning rate for all but the trunk better, and is attention, with fresh seeds?",
    rule="The default changes where p is below 0.01 and it costs no more seconds.",
    equal=BEFORE.equal, amount=BEFORE.amount, every=BEFORE.every, seeds=(3, 4, 5, 6, 7),
    arms={"last byte": BASE, "all but the trunk at twice the rate": BASE + TWICE,
          "attention": BASE + " --model.pooling attention",
          "attention, twice the rate": BASE + " --model.pooling attention" + TWICE},
    baseline="last byte")
