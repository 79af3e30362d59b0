"""Which learning rate is best for each way of reading bytes? For reading_bytes.py, so that all ways are tuned equally.

    stlm compare recipes/reading_rates.py --jobs 2

These shapes are older than reading_shapes.py, which tries rates again where the shape changed most.
"""

import dataclasses

from reading_bytes import BPE, EVERY, FLAT, PAPER, SCHEDULE, shape
from reading_bytes import RECIPE as BYTES

RATES = (1.5e-3, 3e-3, 6e-3)
POOLED = "demo --optim.local-lr-mult 1 --model.trunk.ffn.ratio 3 --train.seq-len 2048 --train.batch-size 2" + SCHEDULE


def arms(rate: float) -> dict[str, str]:
    """The words of each arm. Strides of 4 and 8 take the rate that is best for 6."""
    pooled = {
        "stride 6": "--model.patching stride --model.patching.stride 6",
        "whitespace": "",
        "subword": "--data.tokenizer subword --model.patching subword",
        "entropy": "--model.patching entropy --model.patching.run {reader} --model.patching.threshold 3.6",
        "dynamic": "--model.patching dynamic",
    }
    out = {arm: POOLED + "--model.embedding.rows 2048 " + flags for arm, flags in pooled.items()}
    out["whitespace, plain"] = POOLED + "--model.embedding tokens --model.copying none"
    out["paper"] = PAPER + "--train.seq-len 2048 --train.batch-size 2"
    out["flat bytes"] = FLAT + shape(192, 192, 4, "ngrams", 2048)
    out["BPE 1,024"] = BPE + "1024" + shape(224, 224, 3, "ngrams", 1024)
    out["BPE 4,096"] = BPE + "4096" + shape(192, 192, 3, "ngrams", 512)
    out["BPE 16,384"] = BPE + "16384" + shape(192, 64, 2, "ngrams", 1024)
    out["BPE 50,257"] = BPE + "50257" + shape(128, 32, 2, "ngrams", 1024)
    return {f"{arm} at {rate}": words.replace("{rate}", f"{rate:g}") for arm, words in out.items()}


HIGHEST = [f"{arm} at 0.012" for arm in ("stride 6", "entropy", "whitespace, plain", "paper", "BPE 1,024", "BPE 50,257")]
ARMS = {arm: words for rate in RATES for arm, words in arms(rate).items()} | {arm: arms(0.012)[arm] for arm in HIGHEST}

RECIPE = dataclasses.replace(
    BYTES, question="Which learning rate is best for each way of reading bytes?",
    rule="The lowest bits per byte with one seed, among rates a factor of two apart; where that is at the edge, go further.",
    amount=2.0, seeds=(0,), texts={}, against=(), every=EVERY.replace("every 200", "every 100"), arms=ARMS,
    baseline=f"flat bytes at {RATES[1]}")
