"""What does each part of ``10m`` contribute, in the shape with three layers that it had? One change at a time.

    stlm compare recipes/parts.py --jobs 2
"""

from local_10m import POOLED

from stlm.compare.recipe import Recipe

TOKENS = POOLED.replace("--model.embedding.rows 32768", "--model.embedding tokens")

RECIPE = Recipe(
    question="How many bits per byte does 10m with three layers gain or lose by one change, at equal bytes?",
    rule="A change counts where p is below 0.01.",
    equal="megabytes", amount=2.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.compile on "
          "--train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "as it is": POOLED,
        "without the pointer": POOLED + "--model.copying none",
        "without recall": POOLED + "--model.embedding ngrams --model.embedding.rows 32768",
        "without n-grams and recall": TOKENS,
        "without all three": TOKENS + "--model.copying none",
        "trunk of two layers": POOLED + "--model.layers 2",
        "local width 192": POOLED + "--model.local-dim 192",
        "steps of 8 kB": POOLED + "--train.batch-size 8 --train.warmup 25",
        "steps of 2 kB": POOLED + "--train.batch-size 2 --train.warmup 100",
        "patches of at most 8 bytes": POOLED + "--model.patching.cap 8",
        "last byte pooling": POOLED + "--model.pooling last",
        "without QK-norm": POOLED + "--model.trunk.qk-norm False",
        "SwiGLU": POOLED + "--model.trunk.ffn swiglu",
        "averaged weights": POOLED + "--train.averaging ema --train.averaging.decay 0.98",
        "Muon": POOLED + "--optim muon --optim.adamw-lr 3e-3 --optim.lr 0.02",
    },
    baseline="as it is")
