"""Which shape of ``10m-bpe`` is best in the first minutes? It is searched as ``10m`` is (shapes_10m.py).

    stlm compare recipes/shapes_bpe.py --jobs 2

One seed: this finds a shape and claims no more.
"""

from local_10m import FOUR
from shapes_10m import EVERY

from stlm.compare.recipe import Recipe

TWO = FOUR + "--model.layers 2 --model.embedding.rows 12900 "
RATES = "--optim.beta2 0.98 --optim.local-lr-mult 2 "

RECIPE = Recipe(
    question="Which shape of ten million parameters over byte pairs has the fewest bits per byte after four minutes?",
    rule="The lowest bits per byte.",
    equal="minutes", amount=4.0, seeds=(0,), every=EVERY,
    arms={
        "four layers, 4,096 rows": FOUR,
        "four layers, beta2 0.98": FOUR + "--optim.beta2 0.98",
        "four layers, beta2 0.98, twice the rate outside the trunk": FOUR + RATES,
        "two layers, 12,900 rows": TWO,
        "two layers, pairs and triples": TWO + "--model.embedding.orders 2 3",
        "two layers, pairs and triples, one row of 512": TWO + "--model.embedding.orders 2 3 --train.seq-len 512 "
                                                               "--train.batch-size 1",
        "two layers, recall": FOUR + "--model.layers 2 --model.embedding recall --model.embedding.orders 2 3 "
                                     "--model.embedding.matches 2 --model.embedding.rows 8800",
        "two layers, two rows of 512": TWO + "--train.seq-len 512 --train.batch-size 2",
        "two layers, beta2 0.98, twice the rate outside the trunk": TWO + RATES,
        "one layer, 17,300 rows": FOUR + "--model.layers 1 --model.embedding.rows 17300",
        "one layer, pairs and triples": FOUR + "--model.layers 1 --model.embedding.rows 17300 --model.embedding.orders 2 3",
    },
    baseline="four layers, 4,096 rows")
