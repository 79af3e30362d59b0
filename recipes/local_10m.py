"""How wide should the local networks of ten million parameters be, and how fast should they learn? At equal bytes.

    stlm compare recipes/local_10m.py --jobs 2

In reading_10m.py byte pairs of 4,096 tokens were better than words. They spend 1.8 times the FLOPs a byte, and four tenths of
the parameters of the model over words are in tables. One seed: this looks for a shape and claims no more.
"""

from stlm.compare.recipe import Recipe

EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 100 --train.cooldown 0.5 "
         "--train.compile on --train.evaluate-every 200 --train.sample-every 100000")
# a model with three layers, which `10m` was
THREE = "10m --model.layers 3 --model.embedding.rows 32768 --model.pooling mean --optim.beta2 0.95 --optim.local-lr-mult 1 "
# a model of byte pairs with four layers, which `10m-bpe` was
FOUR = "10m-bpe --model.layers 4 --model.embedding.rows 4096 --optim.beta2 0.95 --optim.local-lr-mult 1 "
POOLED = THREE + "--optim.lr 2e-3 --train.seq-len 1024 --train.batch-size 4 "

RECIPE = Recipe(
    question="How wide should the local networks of ten million parameters be, and how fast should they learn?",
    rule="The lowest bits per byte at equal bytes, if it stays so per FLOP.",
    equal="megabytes", amount=5.0, seeds=(0,),
    every=EVERY,
    arms={
        "local 128": POOLED,
        "local 128, all but the trunk at twice the rate": POOLED + "--optim.local-lr-mult 2",
        "local 256": POOLED + "--model.local-dim 256 --model.embedding.rows 12032",
        "local 256, fewer rows, four layers": POOLED + "--model.local-dim 256 --model.embedding.rows 5120 --model.layers 4",
        "BPE 4,096": FOUR + "--optim.lr 2e-3 --train.seq-len 256 --train.batch-size 4",
    },
    baseline="local 128", against=("BPE 4,096",))
