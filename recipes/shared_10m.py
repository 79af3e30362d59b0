"""Which shape is best for ten million unique parameters when layers are shared? Candidates for ``10m-shared``.

    stlm compare recipes/shared_10m.py --jobs 2

The parameters that sharing saves are spent on width. All arms read as much text, with different FLOPs: the report shows FLOPs
and the speed of writing beside the bits. ``six layers, narrow`` and ``three layers, wide`` share nothing and show what shape
alone does. Widths differ, so learning rates go by width (transfer.py). One seed: this looks for a shape and claims no more.
"""

from local_10m import EVERY, POOLED

from stlm.compare.recipe import Recipe

BASE = POOLED + "--optim.base-width 384 --model.embedding.rows 4096 "


def _shape(width: int, layers: int, ratio: float, flags: str = "") -> str:
    return (BASE + f"--model.dim {width} --model.layers {layers} --model.trunk.heads {width // 64} "
            f"--model.trunk.ffn.ratio {ratio} {flags}")


RECIPE = Recipe(
    question="Which shape is best for ten million unique parameters when layers are shared?",
    rule="The lowest bits per byte of those that share.",
    equal="megabytes", amount=1.5, seeds=(0,),
    every=EVERY,
    arms={
        "six layers, narrow": _shape(384, 6, 3),
        "three layers, wide": _shape(512, 3, 3.5),
        "A B C A B C": _shape(512, 6, 3.5, "--model.sharing cycle --model.sharing.loops 2"),
        "A B A B": _shape(640, 4, 3.5, "--model.sharing cycle --model.sharing.loops 2"),
        "A A A, adaptors": _shape(768, 3, 5, "--model.sharing all --model.sharing.rank 8"),
        "one FFN": _shape(512, 6, 5, "--model.sharing ffn"),
    },
    baseline="three layers, wide", against=("six layers, narrow",))
