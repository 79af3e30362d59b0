"""Are the rates and shapes that are best after two minutes also best after six? For reading_bytes.py.

    stlm compare recipes/reading_longer.py

The rates were found with two minutes on one thread. Six minutes on two threads read five times as much text. A longer run may
need lower rates, deeper models, or longer rows, in which n-grams, recall and pointer see more of a document.
"""

import dataclasses

from reading_bytes import BPE, ENTROPY, EVERY, FLAT, POOLED, shape
from reading_bytes import RECIPE as BYTES

WAYS = {
    "words, 1 layer": (POOLED, (1.5e-3, 3e-3)),
    "words, 2 layers": (POOLED + "--model.layers 2 --model.embedding.rows 3840", (3e-3,)),
    "4,096 tokens, 2 layers": (BPE + "4096" + shape(192, 192, 2, "ngrams", 2432), (1.5e-3, 3e-3)),
    "4,096 tokens, 3 layers": (BPE + "4096" + shape(192, 192, 3, "ngrams", 512), (3e-3,)),
    "1,024 tokens, 1 layer": (BPE + "1024" + shape(224, 224, 1, "recall", 3392) + "--model.embedding.matches 2 3",
                              (3e-3, 6e-3)),
    "1,024 tokens, 2 layers": (BPE + "1024" + shape(224, 224, 2, "recall", 1152) + "--model.embedding.matches 2 3", (3e-3,)),
    "1,024 tokens, 3 layers": (BPE + "1024" + shape(224, 224, 3, "ngrams", 1024), (6e-3,)),
    "flat bytes, 1 layer": (FLAT + shape(192, 192, 1, "recall", 7680), (1.5e-3, 3e-3)),
    "flat bytes, 1 layer, rows of 1,024": (
        FLAT + shape(192, 192, 1, "recall", 7680) + "--train.seq-len 1024 --train.batch-size 2", (1.5e-3,)),
    "4,096 tokens, 3 layers, rows of 512": (
        BPE + "4096" + shape(192, 192, 3, "ngrams", 512) + "--train.seq-len 512 --train.batch-size 2", (3e-3,)),
    "stride 6": (POOLED + "--model.patching stride --model.patching.stride 6", (3e-3, 6e-3)),
    "entropy": (POOLED + ENTROPY, (6e-3,)),
}

RECIPE = dataclasses.replace(
    BYTES, question="Are the rates and shapes that are best after two minutes also best after six?",
    rule="The lowest bits per byte with one seed, each way by itself.", seeds=(0,), texts={}, every=EVERY, against=(),
    arms={f"{way} at {rate}": words.replace("{rate}", f"{rate:g}") for way, (words, rates) in WAYS.items() for rate in rates},
    baseline="words, 1 layer at 0.003")
