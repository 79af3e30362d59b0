"""What does it cost to share weights between layers? At equal FLOPs, beside shallow models with as many weights.

    stlm compare recipes/sharing.py --jobs 2

A trunk of six layers holds most of the model's weights. Sharing doesn't change FLOPs, so arms that share read as much text as
``six layers``. ``two layers`` has as many weights as the loops of two layers, ``one layer`` as many as ``all``; both read more
text for the same FLOPs. The healed arms start with the weights of one trained model of six layers, and its cost is added to
theirs. Learning rates are those of sharing_rates.py, one for all parts of a model.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --optim.local-lr-mult 1 --model.layers 6 --model.trunk.ffn.ratio 3 --model.embedding.rows 2048 --optim.lr {rate} "
CYCLE, ALL = "--model.sharing cycle --model.sharing.loops 3 ", "--model.sharing all "
OWN = "--model.sharing.rank 8 --model.sharing.own-norms True "
EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.cooldown 0.5 "
         "--train.evaluate-every 100 --train.sample-every 100000")

ARMS = {
    "six layers": (6e-3, ""),
    "two layers": (3e-3, "--model.layers 2"),
    "one layer": (3e-3, "--model.layers 1"),
    "one FFN": (3e-3, "--model.sharing ffn"),
    "one FFN, adaptors": (3e-3, "--model.sharing ffn --model.sharing.rank 8"),
    "one FFN, wide": (3e-3, "--model.sharing ffn --model.sharing.widen 3"),
    "adjacent, A A A B B B": (6e-3, "--model.sharing adjacent --model.sharing.repeat 3"),
    "cycle, A B A B A B": (6e-3, CYCLE),
    "cycle, adaptors": (6e-3, CYCLE + OWN),
    "cycle, loops from half": (6e-3, CYCLE + "--model.sharing.loop-from 0.5"),
    "cycle, healed": (6e-3, CYCLE + "--train.init-from {six}"),
    "cycle, adaptors, healed": (6e-3, CYCLE + OWN + "--train.init-from {six}"),
    "all": (3e-3, ALL),
    "all, adaptors": (3e-3, ALL + OWN),
}


def at_rates(arms: dict[str, tuple[float, str]]) -> dict[str, str]:
    """The words of each arm: the trunk of six layers with the arm's learning rate, and the arm's own flags."""
    return {arm: BASE.replace("{rate}", f"{rate:g}") + flags for arm, (rate, flags) in arms.items()}


RECIPE = Recipe(
    question="How many weights of the trunk can be shared, and what does it cost in bits per byte?",
    rule="The fewest unique parameters at no more than 0.5 % above the unshared model, in the mean.",
    equal="teraflops", amount=16.0, every=EVERY,
    first={"six": at_rates({"": ARMS["six layers"]})[""] + EVERY + " --train.teraflops 16"},
    arms=at_rates(ARMS),
    baseline="six layers", against=("two layers", "one layer"))
