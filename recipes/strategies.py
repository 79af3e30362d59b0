"""Which ways to train help a model of about two million parameters where text is plenty? One at a time, at equal text.

    stlm compare recipes/strategies.py --jobs 2

Each arm takes one thing away from the demo's recipe, or adds one. What wins has to win at equal seconds too
(strategies_in_time.py). Each optimizer has the best learning rate of strategies_rates.py; all other arms have the rate of the
recipe as it is.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --train.cooldown 0.5 "
RESIDUAL = "--model.depth residual --model.depth.scalars False "
SCALED = "--model.depth residual "
MUON = "--optim muon --optim.adamw-lr 6e-3 --optim.precision bf16 "
EXPRESS = "--optim.iterations 4 --optim.coefficients polar_express "

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
    "Muon": MUON,
    "Muon, normalized": MUON + "--optim.normalize True ",
    "Muon, 4 blocks, Polar Express": MUON + EXPRESS + "--optim.blocks 4 ",
    "Muon, 4 blocks, Polar Express, normalized": MUON + EXPRESS + "--optim.blocks 4 --optim.normalize True ",
    "Muon, 4 blocks, each 4th step whole, normalized": MUON + "--optim.blocks 4 --optim.every 4 --optim.normalize True ",
    "Muon, blocks of one row, normalized": MUON + "--optim.blocks 1024 --optim.normalize True ",
    "Muon, SOAP outside the trunk": MUON + "--optim.local soap ",
    "SOAP": "--optim soap --optim.local-lr-mult 2 ",
    "beta2 0.98": "--optim.beta2 0.98 ",
    "recall": "--model.embedding recall --model.embedding.rows 4096 ",
    "twice the rows": "--model.embedding.rows 8192 ",
    "1 layer, all its parameters in rows": "--model.layers 1 --model.embedding.rows 10240 ",
    "rows of 1024": "--train.seq-len 1024 --train.batch-size 4 ",
    "steps of 2 kB": "--train.batch-size 1 --train.warmup 100 ",
    "z-loss": "--objective z_loss ",
    "several bytes, no layers, to zero": "--objective multi_byte --objective.own-layers False --objective.weight 0.5 "
                                         "--objective.final-weight 0 ",
}
USUAL, MUONS = 3e-3, 0.02  # learning rates: Muon's is on a scale of its own
RATES = {"Muon, blocks of one row, normalized": 0.01, "Muon, SOAP outside the trunk": 0.01, "SOAP": 6e-3}  # of others

EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.evaluate-every 200 --train.sample-every 100000 "
         "--train.checkpoint-every 1000 --train.compile on")


def usual(arm: str) -> float:
    """The learning rate of an arm before those of strategies_rates.py were known."""
    return MUONS if arm.startswith("Muon") else USUAL


def rate_of(arm: str) -> float:
    """The learning rate of an arm."""
    return RATES.get(arm, usual(arm))


def at_rate(flags: str, rate: float) -> str:
    """The words of an arm with these flags, at a learning rate."""
    return f"{BASE}{flags}--optim.lr {rate:g}"


RECIPE = Recipe(
    question="Which ways to train help a model of about two million parameters, at equal text, where text is plenty?",
    rule="A way counts where p is below 0.01. What could pay for its time is compared at equal seconds.",
    equal="megabytes", amount=3.0, every=EVERY,
    arms={arm: at_rate(flags, rate_of(arm)) for arm, flags in ARMS.items()}, baseline="as it is")
