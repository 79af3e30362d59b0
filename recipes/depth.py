"""What is depth that depends on the input worth? Bits per byte against the bytes that are written in a second.

    stlm compare recipes/depth.py --jobs 2

A trunk of six layers, beside shallower ones that cost as much.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --model.layers 6 --model.trunk.ffn.ratio 3 --model.embedding.rows 2048 --optim.lr 3e-3"

RECIPE = Recipe(
    question="Do patches need all layers, and does it pay to let them do with fewer?",
    rule="A way pays where it is below the line between the full trunks of more and of fewer layers, in bits per byte against "
         "bytes written in a second.",
    equal="megabytes", amount=4.0,
    every="--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.decay 0.5 --train.precision bf16 "
          "--train.compile on --train.evaluate-every 100 --train.sample-every 100000",
    arms={
        "six layers": BASE,
        "four layers": BASE + " --model.layers 4",
        "two layers": BASE + " --model.layers 2",
        "early exit": BASE + " --model.depth early_exit",
        "early exit, leaving at 0.98": BASE + " --model.depth early_exit --model.depth.leave 0.98",
        "mixture, half": BASE + " --model.depth mixture",
        "mixture, an eighth": BASE + " --model.depth mixture --model.depth.capacity 0.125",
        "skip, 0.7": BASE + " --model.depth skip",
        "skip, 0.4": BASE + " --model.depth skip --model.depth.target 0.4",
        "recursions": BASE + " --model.sharing cycle --model.sharing.loops 3 --model.depth mixture --model.depth.span 2 "
                      "--model.depth.every 1 --model.depth.nested True",
    },
    baseline="six layers")
