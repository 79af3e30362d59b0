"""Which learning rate does each way of reading bytes want? For reading_bytes.py, so that all sides are tuned alike.

    stlm compare recipes/reading_rates.py --jobs 2

The shapes are those from before reading_shapes.py, which looks at the rates again where the shape has changed most.
"""

import dataclasses

from reading_bytes import EVERY
from reading_bytes import RECIPE as BYTES

RATES = (1.5e-3, 3e-3, 6e-3)
PACE = " --train.warmup 50 --train.decay 0.5 --optim.lr {rate} "
POOLED = "demo --model.trunk.ffn.ratio 3 --train.seq 2048 --train.rows 2" + PACE
GRAMS = "--model.embedding.rows 2048 "
FLAT = "10m-flat --model.trunk.ffn.ratio 3 --model.embedding ngrams --model.copying pointer --train.rows 4" + PACE
BPE = FLAT + "--data.codec bpe --data.codec.vocabulary {size} --model.embedding.orders 2 --train.seq 256 "
PAPER = ("paper --model.dim 256 --model.layers 2 --model.trunk.heads 4 --model.trunk.kv-heads 4 --model.local-dim 64 "
         "--model.local.heads 4 --model.local.ffn.ratio 4 --model.head.layers 3 --model.head.heads 4 --train.seq 2048 "
         "--train.rows 2" + PACE)


def arms(rate: float) -> dict[str, str]:
    """The words of each arm; strides of 4 and 8 take the rate of 6."""
    pooled = {
        "stride 6": "--model.patching stride --model.patching.stride 6",
        "whitespace": "",
        "subword": "--data.codec subword --model.patching subword",
        "entropy": "--model.patching entropy --model.patching.run {reader} --model.patching.threshold 3.6",
        "dynamic": "--model.patching dynamic",
    }
    out = {arm: POOLED + GRAMS + flags for arm, flags in pooled.items()}
    out["whitespace, plain"] = POOLED + "--model.embedding symbols --model.copying none"
    out["paper"] = PAPER
    out["flat bytes"] = FLAT + GRAMS + "--model.dim 192 --model.local-dim 192 --model.layers 4"
    for size, dim, local, layers, rows in ((1024, 224, 224, 3, 1024), (4096, 192, 192, 3, 512), (16384, 192, 64, 2, 1024),
                                           (50257, 128, 32, 2, 1024)):
        out[f"BPE {size:,}"] = (BPE.replace("{size}", str(size)) + f"--model.dim {dim} --model.local-dim {local} "
                                f"--model.layers {layers} --model.embedding.rows {rows} --model.trunk.heads {dim // 32}")
    return {f"{arm} at {rate}": words.replace("{rate}", f"{rate:g}") for arm, words in out.items()}


HIGHEST = [f"{arm} at 0.012" for arm in ("stride 6", "entropy", "whitespace, plain", "paper", "BPE 1,024", "BPE 50,257")]
ARMS = {arm: words for rate in RATES for arm, words in arms(rate).items()} | {arm: arms(0.012)[arm] for arm in HIGHEST}

RECIPE = dataclasses.replace(
    BYTES, question="Which learning rate does each way of reading bytes want?",
    rule="The lowest bits per byte with one seed, among rates a factor of two apart; where that is at the edge, go further.",
    amount=2.0, seeds=(0,), texts={}, every=EVERY.replace("every 200", "every 100"), arms=ARMS,
    baseline=f"flat bytes at {RATES[1]}")
