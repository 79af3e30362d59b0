"""What does it cost to share weights between layers? At equal bytes, and so, but for the shallow controls, at equal FLOPs.

    stlm compare recipes/sharing.py --jobs 2

A trunk of six layers, whose weights are most of the model. ``two layers`` has as many weights as the loops of two, and
``one layer`` as many as ``all``: what sharing is worth at equal parameters.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --model.layers 6 --model.trunk.ffn.ratio 3 --model.embedding.rows 2048 --optim.lr 3e-3"

RECIPE = Recipe(
    question="How many weights of the trunk can be shared, and what does it cost in bits per byte?",
    rule="The fewest unique parameters at no more than 0.5 % above the unshared model, in the mean.",
    equal="megabytes", amount=4.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.decay 0.5 --train.precision bf16 "
          "--train.compile on --train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "six layers": BASE,
        "two layers": BASE + " --model.layers 2",
        "one layer": BASE + " --model.layers 1",
        "one FFN": BASE + " --model.sharing ffn",
        "one FFN, adaptors": BASE + " --model.sharing ffn --model.sharing.rank 8",
        "one FFN, wide": BASE + " --model.sharing ffn --model.sharing.widen 3",
        "adjacent, A A A B B B": BASE + " --model.sharing adjacent --model.sharing.repeat 3",
        "cycle, A B A B A B": BASE + " --model.sharing cycle --model.sharing.loops 3",
        "cycle, adaptors": BASE + " --model.sharing cycle --model.sharing.loops 3 --model.sharing.rank 8 "
                           "--model.sharing.own-norms True",
        "cycle, late": BASE + " --model.sharing cycle --model.sharing.loops 3 --model.sharing.late 0.5",
        "all": BASE + " --model.sharing all",
        "all, adaptors": BASE + " --model.sharing all --model.sharing.rank 8 --model.sharing.own-norms True",
    },
    baseline="six layers")
