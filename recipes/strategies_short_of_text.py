"""Which ways to train help where text is short? Five megabytes, as many epochs as it takes, the best weights count.

    stlm compare recipes/strategies_short_of_text.py --jobs 2

The arm ``twice the text`` reads ten megabytes, and says what twice the data would bring. The runs keep the weights that were
best on held-out text. That text is part of the score, so the second text, which nothing was chosen by, stands beside it.
"""

from epochs_short_of_text import EVERY, TEXTS

from stlm.compare.recipe import Recipe

BASE = "demo "
DROP = "--train.dropout.residual {rate} --train.dropout.embedding {rate} "


def dropout(rate: float, shape: str) -> str:
    """Dropout of residuals and embeddings at this rate, with a schedule."""
    return DROP.replace("{rate}", f"{rate:g}") + f"--train.dropout.schedule {shape} "


DECAY = "--optim.weight-decay {} "
ARMS = {
    "as it is": "",
    "twice the text": "--data.first-megabytes 10 ",
    "weight decay 1": DECAY.format(1),
    "weight decay 3": DECAY.format(3),
    "weight decay 3, cautious": DECAY.format(3) + "--optim.cautious True ",
    "weight decay 3, to zero": DECAY.format(3) + "--train.weight-decay-schedule linear ",
    "dropout 0.1": dropout(0.1, "constant"),
    "dropout 0.2": dropout(0.2, "constant"),
    "dropout 0.2, linear to zero": dropout(0.2, "linear"),
    "dropout 0.2, triangle": dropout(0.2, "triangle"),
    "dropout 0.2, early": dropout(0.2, "early"),
    "layers dropped": "--train.dropout.layer 0.2 ",
    "attention dropped": "--train.dropout.attention 0.2 ",
    "one order": "--batches.reshuffle False ",
    "EMA 0.99": "--train.averaging ema ",
    "last epochs": "--train.averaging epochs ",
    "U-Net": "--model.depth residual --model.depth.scalars False --model.depth.unet True --model.layers 3 "
             "--model.trunk.ffn.ratio 2 ",
    "3 narrower layers": "--model.layers 3 --model.trunk.ffn.ratio 2 ",
    "SwiGLU": "--model.trunk.ffn swiglu ",
    "masked, 1 row in 4": "--objective masked_next --objective.ratio 0.25 ",
    "spans, 1 row in 4": "--objective span ",
}

RECIPE = Recipe(
    question="Which ways to train help a model of about two million parameters that has five megabytes of text?",
    rule="The lowest mean bits per byte of held-out text, with the best weights of each run; data efficiency is how much text "
         "the recipe as it is needs for the same.",
    equal="epochs", amount=6.0,
    every="--data.first-megabytes 5 " + EVERY,
    arms={arm: BASE + flags for arm, flags in ARMS.items()}, baseline="as it is",
    texts=TEXTS)
