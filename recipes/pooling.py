"""Which parts around the trunk are best: poolings, heads, local networks, tables, norms and learning rates?

    stlm compare recipes/pooling.py --jobs 2

One change at a time from the whitespace arm of reading_bytes.py, which has two million unique parameters. Arms without tables
have fewer.
"""

from reading_bytes import POOLED

from stlm.compare.recipe import Recipe

BASE = POOLED.replace("{rate}", "3e-3")
TABLE = "--model.embedding recall --model.embedding.rows 10688"

RECIPE = Recipe(
    question="Which pooling, head, local network and table are best for patches, at equal bytes?",
    rule="A change counts where p is below 0.01; the default changes where one is better and costs no more seconds.",
    equal="megabytes", amount=2.5,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.compile on --train.evaluate-every 100 "
          "--train.sample-every 100000",
    arms={
        "last byte": BASE,
        "mean": BASE + " --model.pooling mean",
        "attention": BASE + " --model.pooling attention",
        "multi-byte head": BASE + " --objective multi_byte",
        "untied head": BASE + " --model.head untied",
        "parallel head": BASE + " --model.copying none --model.decoder-layers 0 --model.head parallel",
        "local attention": BASE + " --model.local attention --model.local.window 16 --model.local.ffn.ratio 2",
        "local linear attention": BASE + " --model.local linear --model.local.ffn.ratio 2",
        "encoder of two layers": BASE + " --model.encoder-layers 2",
        "decoder of one layer": BASE + " --model.decoder-layers 1",
        "norms on both sides": BASE + " --model.trunk recipes.ideas.sandwich",
        "all but the trunk at twice the rate": BASE + " --optim.local-lr-mult 2",
        "all but the trunk at half the rate": BASE + " --optim.local-lr-mult 0.5",
        "patches of at most 8 bytes": BASE + " --model.patching.cap 8",
        "without recall": BASE.replace(TABLE, "--model.embedding.rows 10688"),
        "without n-grams and recall": BASE.replace(TABLE, "--model.embedding tokens"),
        "without the pointer": BASE + " --model.copying none",
    },
    baseline="last byte")
