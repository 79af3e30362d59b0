"""Which ways to train help a model of about two million parameters where text is plenty? One at a time, at equal seconds.

    stlm compare recipes/strategies.py

Each arm takes one thing away from the demo's recipe, or adds one. The learning rate of every arm is swept alike by
strategies_rates.py, one seed each; until that has been run, the factors below are 1. Times decide here, so nothing else may
run on the machine; each run has both cores.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --train.cooldown 0.5 "
RESIDUAL = "--model.depth residual --model.depth.scalars False "
SCALED = "--model.depth residual "
MUON = "--optim muon --optim.local-lr-mult 1 --optim.precision bf16 "

# the flags of each arm
ARMS = {
    "as it is": "",
    "cosine to zero": "--train.cooldown 1 --train.schedule cosine ",
    "linear to zero": "--train.cooldown 1 ",
    "square root, last 0.5": "--train.schedule sqrt ",
    "linear, last 0.2": "--train.cooldown 0.2 ",
    "batch from a half": "--train.batch-size 4 --train.grad-accum 2 --batches.first-batch 0.5 ",
    "rows from a quarter": "--batches.first-length 0.25 ",
    "no weight decay": "--optim.weight-decay 0 ",
    "cautious weight decay": "--optim.cautious True ",
    "weight decay 0.3, to zero": "--optim.weight-decay 0.3 --train.weight-decay-schedule linear ",
    "dropout 0.1, early": "--train.dropout.residual 0.1 --train.dropout.schedule early ",
    "scalars": SCALED,
    "U-Net": RESIDUAL + "--model.depth.unet True --model.layers 3 --model.trunk.ffn.ratio 2 ",
    "3 narrower layers": "--model.layers 3 --model.trunk.ffn.ratio 2 ",
    "n-grams in every layer": RESIDUAL + "--model.depth.ngrams 4096 ",
    "values": RESIDUAL + "--model.depth.values 4096 ",
    "first values": RESIDUAL + "--model.depth.value-residual True ",
    "gates": "--model.trunk.gates True ",
    "half of RoPE": "--model.trunk.rope-share 0.5 ",
    "SwiGLU": "--model.trunk.ffn swiglu ",
    "softcap 15": "--model.head.softcap 15 ",
    "untied late": "--model.head late ",
    "untied": "--model.head untied ",
    "average of the tail": "--train.averaging tail ",
    "EMA 0.99": "--train.averaging ema ",
    "Muon, blocks of one row": MUON + "--optim.blocks 1024 ",
    "Muon, 4 blocks, Polar Express": MUON + "--optim.blocks 4 --optim.iterations 4 --optim.coefficients polar_express ",
    "Muon, normalized": MUON + "--optim.normalize True ",
    "Muon, SOAP outside the trunk": MUON + "--optim.local soap ",
    "SOAP": "--optim soap ",
    "recall": "--model.embedding recall ",
    "z-loss": "--objective z_loss ",
    "several bytes, no layers, to zero": "--objective multi_byte --objective.own-layers False --objective.weight 0.5 "
                                         "--objective.final-weight 0 ",
}
DEFAULT = {"Muon": 0.02, "SOAP": 3e-3}  # the middle rates of other optimizers
USUAL = 3e-3
FACTORS = dict.fromkeys(ARMS, 1.0)  # of the middle rate, by strategies_rates.py

EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.evaluate-every 200 --train.sample-every 100000 "
         "--train.checkpoint-every 1000 --train.compile on")


def at_rate(arm: str, factor: float) -> str:
    """The words of an arm, at a multiple of its middle learning rate."""
    middle = DEFAULT.get(arm.partition(",")[0], USUAL)
    return f"{BASE}{ARMS[arm]}--optim.lr {middle * factor:g}"


RECIPE = Recipe(
    question="Which ways to train help a model of about two million parameters, at equal seconds, where text is plenty?",
    rule="The lowest mean bits per byte. A way is taken where p is below 0.01; what wins is tried together and at ten million.",
    equal="minutes", amount=6.0, every=EVERY,
    arms={arm: at_rate(arm, factor) for arm, factor in FACTORS.items()},
    baseline="as it is")
