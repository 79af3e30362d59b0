"""What does each part of ``10m`` contribute, in the shape with three layers that it had? One change at a time.

    stlm compare recipes/parts.py --jobs 2
"""

from local_10m import THREE

from stlm.compare.recipe import Recipe

BASE = THREE + "--train.seq-len 1024 --train.batch-size 4 "
TOKENS = BASE.replace("--model.embedding.rows 32768", "--model.embedding tokens")

RECIPE = Recipe(
    question="How many bits per byte does 10m with three layers gain or lose by one change, at equal bytes?",
    rule="A change counts where p is below 0.01.",
    equal="megabytes", amount=2.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.compile on "
          "--train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "as it is": BASE,
        "without the pointer": BASE + "--model.copying none",
        "without recall": BASE + "--model.embedding ngrams --model.embedding.rows 32768",
        "without n-grams and recall": TOKENS,
        "without all three": TOKENS + "--model.copying none",
        "trunk of two layers": BASE + "--model.layers 2",
        "local width 192": BASE + "--model.local-dim 192",
        "steps of 8 kB": BASE + "--train.batch-size 8 --train.warmup 25",
        "steps of 2 kB": BASE + "--train.batch-size 2 --train.warmup 100",
        "patches of at most 8 bytes": BASE + "--model.patching.cap 8",
        "last byte pooling": BASE + "--model.pooling last",
        "without QK-norm": BASE + "--model.trunk.qk-norm False",
        "SwiGLU": BASE + "--model.trunk.ffn swiglu",
        "averaged weights": BASE + "--train.averaging ema --train.averaging.decay 0.98",
        "Muon": BASE + "--optim muon --optim.adamw-lr 3e-3",
    },
    baseline="as it is")
