"""What is depth that depends on the input worth? Bits per byte against bytes written in a second.

    stlm compare recipes/depth.py --jobs 2

All arms train with equal FLOPs. A trunk of six layers is compared with shallower ones, which read more text for the same FLOPs.
Learning rates are those of sharing_rates.py.
"""

from sharing import CYCLE, EVERY, at_rates

from stlm.compare.recipe import Recipe

ARMS = {
    "six layers": (6e-3, ""),
    "four layers": (3e-3, "--model.layers 4"),
    "two layers": (3e-3, "--model.layers 2"),
    "early exit": (6e-3, "--model.depth early_exit"),
    "early exit, threshold 0.98": (6e-3, "--model.depth early_exit --model.depth.exit-threshold 0.98"),
    "mixture, half": (6e-3, "--model.depth mixture"),
    "mixture, an eighth": (6e-3, "--model.depth mixture --model.depth.capacity 0.125"),
    "skip, 0.7": (6e-3, "--model.depth skip"),
    "skip, 0.4": (6e-3, "--model.depth skip --model.depth.target 0.4"),
    "loops of two layers, all": (6e-3, CYCLE),
    "loops of two layers, as many as needed": (6e-3, CYCLE + "--model.depth mixture --model.depth.span 2 "
                                               "--model.depth.every 1 --model.depth.nested True"),
}

RECIPE = Recipe(
    question="Do all patches need all layers, and does it pay to run fewer for some?",
    rule="A way pays where it is below the line between the full trunks of more and of fewer layers, in bits per byte against "
         "bytes written in a second.",
    equal="teraflops", amount=12.0, every=EVERY + " --train.compile on",
    arms=at_rates(ARMS),
    baseline="six layers")
