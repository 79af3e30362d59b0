"""What does each part of ``10m`` contribute? One change at a time.

    stlm compare recipes/parts.py --jobs 2
"""

from stlm.compare.recipe import Recipe

RECIPE = Recipe(
    question="How many bits per byte does 10m gain or lose by one change, at equal bytes?",
    rule="A change counts where p is below 0.01.",
    equal="megabytes", amount=2.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.compile on "
          "--train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "10m": "10m",
        "without the pointer": "10m --model.copying none",
        "without recall": "10m --model.embedding ngrams --model.embedding.rows 32768",
        "without n-grams and recall": "10m --model.embedding tokens",
        "without all three": "10m --model.embedding tokens --model.copying none",
        "trunk of two layers": "10m --model.layers 2",
        "local width 192": "10m --model.local-dim 192",
        "steps of 8 kB": "10m --train.batch-size 8 --train.warmup 25",
        "steps of 2 kB": "10m --train.batch-size 2 --train.warmup 100",
        "patches of at most 8 bytes": "10m --model.patching.cap 8",
        "last byte pooling": "10m --model.pooling last",
        "without QK-norm": "10m --model.trunk.qk-norm False",
        "SwiGLU": "10m --model.trunk.ffn swiglu",
        "averaged weights": "10m --train.averaging ema --train.averaging.decay 0.98",
        "Muon": "10m --optim muon --optim.adamw-lr 3e-3",
    },
    baseline="10m")
