"""Where do ten million parameters belong in the first minutes: in layers or in tables? One seed: it finds a shape, no more.

    stlm compare recipes/shapes_10m.py --jobs 2

All arms have about ten million parameters, but the one that says otherwise.
"""

from stlm.compare.recipe import Recipe

ONE = "10m --optim.beta2 0.95 "
NARROW = ONE + "--model.dim 256 --model.trunk.heads 4 "

EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 100 --train.evaluate-every 400 --train.sample-every 100000 "
         "--train.checkpoint-every 1000 --train.compile on")

RECIPE = Recipe(
    question="Which shape of ten million parameters has the fewest bits per byte after 8 MB, and at which cost?",
    rule="The lowest bits per byte, weighed against its time.",
    equal="megabytes", amount=8.0, seeds=(0,),
    every=EVERY,
    arms={
        "one layer, 60,416 rows": ONE + "--model.embedding.rows 60416",
        "one layer of width 256, 68,608 rows": NARROW + "--model.embedding.rows 68608",
        "one layer of width 320, 64,640 rows": ONE + "--model.dim 320 --model.trunk.heads 5 --model.embedding.rows 64640",
        "one layer of width 192, 71,168 rows": ONE + "--model.dim 192 --model.trunk.heads 3 --model.embedding.rows 71168",
        "width 256, local width 160, 53,248 rows": NARROW + "--model.local-dim 160 --model.embedding.rows 53248",
        "width 256, local width 192, 43,008 rows": NARROW + "--model.local-dim 192 --model.embedding.rows 43008",
        "width 256, 68,608 rows, lr 3e-3": NARROW + "--model.embedding.rows 68608 --optim.lr 3e-3",
        "one layer, local width 96, 82,432 rows": ONE + "--model.local-dim 96 --model.embedding.rows 82432",
        "one layer, local width 160, 47,104 rows": ONE + "--model.local-dim 160 --model.embedding.rows 47104",
        "one layer, 40,000 rows (7.4M)": ONE + "--model.embedding.rows 40000",
        "one layer, no encoder, 61,000 rows": ONE + "--model.encoder-layers 0 --model.embedding.rows 61000",
        "one layer, 60,416 rows, lr 3e-3": ONE + "--model.embedding.rows 60416 --optim.lr 3e-3",
    },
    baseline="one layer, 60,416 rows")
