"""What does it cost to share weights at ten million parameters? As sharing.py, with the ways that could pay.

    stlm compare recipes/sharing_10m.py

For a GPU. Six layers hold most of the model's weights. Each way to share saves 40 % of the unique weights or more, at the FLOPs
of six layers. ``three layers`` has as many weights as the loops of three, and reads more text for the same FLOPs.
"""

from local_10m import THREE

from stlm.compare.recipe import Recipe

BASE = THREE + "--model.layers 6 --model.trunk.ffn.ratio 3 --model.embedding.rows 4096 --optim.lr 3e-3 "
CYCLE, OWN = "--model.sharing cycle --model.sharing.loops 2 ", "--model.sharing.rank 8 --model.sharing.own-norms True "
EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.seq-len 1024 --train.batch-size 32 --train.warmup 100 "
         "--train.cooldown 0.5 --train.precision bf16 --train.compile off --train.evaluate-every 100 "
         "--train.checkpoint-every 1000 --train.sample-every 100000")

RECIPE = Recipe(
    question="How many weights can be shared at ten million parameters, and what does it cost in bits per byte?",
    rule="The fewest unique parameters at no more than 0.5 % above the unshared model, in the mean.",
    equal="teraflops", amount=500.0,
    every=EVERY,
    arms={
        "six layers": BASE,
        "three layers": BASE + "--model.layers 3",
        "cycle, A B C A B C": BASE + CYCLE,
        "cycle, adaptors": BASE + CYCLE + OWN,
        "one FFN, adaptors": BASE + "--model.sharing ffn --model.sharing.rank 8",
    },
    baseline="six layers", against=("three layers",))
