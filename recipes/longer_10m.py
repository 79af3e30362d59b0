"""Do tables still pay for layers when ``10m`` reads longer? The shape was found in the first minutes (shapes_10m.py).

    stlm compare recipes/longer_10m.py --jobs 2

Each arm reads five times as much as there. One seed: it says whether the order turns, no more.
"""

from stlm.compare.recipe import Recipe

RECIPE = Recipe(
    question="How many layers should ten million parameters have, when they read 40 MB of text?",
    rule="The lowest bits per byte, weighed against its time.",
    equal="megabytes", amount=40.0, seeds=(0,),
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.evaluate-every 1000 --train.sample-every 100000 "
          "--train.checkpoint-every 1000 --train.compile on",
    arms={
        "one layer, 60,416 rows": "10m",
        "three layers, 32,768 rows": "10m --model.layers 3 --model.embedding.rows 32768",
    },
    baseline="one layer, 60,416 rows")
