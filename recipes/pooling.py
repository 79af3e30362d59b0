"""What becomes of a patch's bytes, and how bytes come of its answer: poolings, heads and local networks, at equal bytes.

    stlm compare recipes/pooling.py --jobs 2

One change at a time from the whitespace arm of reading_bytes.py, about two million unique parameters each.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --model.trunk.ffn.ratio 3 --model.embedding.rows 2048 --optim.lr 3e-3"

RECIPE = Recipe(
    question="Which pooling, head and local network read and write a patch best, at equal bytes?",
    rule="A change counts where p is below 0.01; the default changes where one is better and costs no more seconds.",
    equal="megabytes", amount=3.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.seq 2048 --train.rows 2 --train.warmup 50 --train.decay 0.5 "
          "--train.precision bf16 --train.compile on --train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "last byte": BASE,
        "mean": BASE + " --model.pooling mean",
        "attention": BASE + " --model.pooling attention",
        "multi-byte head": BASE + " --model.head multi_byte",
        "untied head": BASE + " --model.head untied",
        "parallel head": BASE + " --model.copying none --model.decoder-layers 0 --model.head parallel",
        "local attention": BASE + " --model.local attention --model.local.window 16 --model.local.ffn.ratio 2",
        "local linear attention": BASE + " --model.local linear --model.local.ffn.ratio 2",
        "without n-grams": BASE.replace(" --model.embedding.rows 2048", " --model.embedding symbols"),
    },
    baseline="last byte")
