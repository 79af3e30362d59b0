"""Which learning rate is best for trunks that share their weights? For sharing.py and depth.py.

    stlm compare recipes/sharing_rates.py --jobs 2

The gradient of a shared weight is the sum over its uses. One seed: this finds a rate and claims no more. Other arms take the
rate of the nearest one here: other ways to share an FFN that of ``one FFN``, depth that depends on the input that of its trunk.
"""

from sharing import ALL, CYCLE, EVERY, at_rates

from stlm.compare.recipe import Recipe

WAYS = {"six layers": "", "two layers": "--model.layers 2", "one layer": "--model.layers 1", "one FFN": "--model.sharing ffn",
        "cycle": CYCLE, "all": ALL}
RATES = (1.5e-3, 3e-3, 6e-3)

RECIPE = Recipe(
    question="Which learning rate is best for trunks that share their weights?",
    rule="The lowest bits per byte, each way by itself.",
    equal="teraflops", amount=16.0, seeds=(0,), every=EVERY,
    arms=at_rates({f"{way} at {rate}": (rate, flags) for way, flags in WAYS.items() for rate in RATES}),
    baseline="six layers at 0.003")
