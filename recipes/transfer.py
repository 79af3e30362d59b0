"""Is the learning rate that is best for a narrow model also best for a wide one? Three widths, at equal bytes.

    stlm compare recipes/transfer.py --jobs 2

``by width``: a matrix of n inputs learns at lr * 256 / n (Yang et al. 2022, arXiv 2203.03466). ``alike``: all matrices learn at
lr. A rule transfers if its best rate is the same at all three widths. The highest rate is left out at width 512, where it can't
be the best.
"""

from sharing import EVERY

from stlm.compare.recipe import Recipe

LOW, HIGH = (1.5e-3, 3e-3, 6e-3), (1.2e-2,)
RATES = {128: LOW + HIGH, 256: LOW + HIGH, 512: LOW}
RULES = {"alike": "", "by width": " --optim.base-width 256"}


def _shape(width: int) -> str:
    return (f"demo --optim.local-lr-mult 1 --model.dim {width} --model.local-dim {width // 2} "
            f"--model.trunk.heads {width // 64} --model.trunk.ffn.ratio 3 --model.embedding.rows 2048")


RECIPE = Recipe(
    question="Does the best learning rate stay the same when the model gets wider?",
    rule="A rule transfers where the rate that is best at width 256 is within 0.5 % of the best at 128 and at 512.",
    equal="megabytes", amount=2.5, seeds=(0,),
    every=EVERY,
    arms={f"{width}, {rule}, {rate:g}": f"{_shape(width)} --optim.lr {rate:g}{flag}"
          for width, rates in RATES.items() for rule, flag in RULES.items() for rate in rates},
    baseline="256, alike, 0.003")
