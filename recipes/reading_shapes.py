"""Where should two million parameters be: in layers, in tables, or in local networks? For reading_bytes.py, so that each way
has its best shape.

    stlm compare recipes/reading_shapes.py
"""

import dataclasses

from reading_bytes import BPE, EVERY, FLAT
from reading_bytes import RECIPE as BYTES
from reading_rates import POOLED

WORDS = POOLED.replace("{rate}", "3e-3")
NGRAMS = " --model.embedding ngrams "
TOKENS = (BPE.replace("{rate}", "3e-3") + "4096" + NGRAMS +
          "--model.dim 192 --model.local-dim 192 --model.trunk.heads 6 ")
FEWER = (BPE.replace("{rate}", "6e-3") + "1024" + NGRAMS +
         "--model.dim 224 --model.local-dim 224 --model.trunk.heads 7 ")
MORE = (BPE.replace("{rate}", "3e-3") + "16384" + NGRAMS +
        "--model.dim 192 --model.local-dim 64 --model.trunk.heads 6 ")
BYTEWISE = FLAT.replace("{rate}", "3e-3") + NGRAMS + "--model.dim 192 --model.local-dim 192 "

RECIPE = dataclasses.replace(
    BYTES, question="Which shape of two million parameters is best for patches of words, for tokens and for bytes?",
    rule="The lowest bits per byte with one seed, each way by itself.", amount=2.0, seeds=(0,), texts={}, first={},
    every=EVERY, against=(),
    arms={
        "words, 2 layers, 2,048 rows": WORDS + "--model.embedding.rows 2048",
        "words, 1 layer, 7,168 rows": WORDS + "--model.layers 1 --model.embedding.rows 7168",
        "words, 1 layer, 6,656 rows, recall": WORDS + "--model.layers 1 --model.embedding recall --model.embedding.rows 6656",
        "words, 1 layer, 4,096 rows, recall, local 160": WORDS + "--model.layers 1 --model.embedding recall "
                                                         "--model.embedding.rows 4096 --model.local-dim 160",
        "words, 1 layer, 6,656 rows, recall, at 6e-3": WORDS + "--model.layers 1 --model.embedding recall "
                                                       "--model.embedding.rows 6656 --optim.lr 6e-3",
        "words, 1 layer, 7,424 rows, recall, decoder of 1": WORDS + "--model.layers 1 --model.embedding recall "
                                                           "--model.embedding.rows 7424 --model.decoder-layers 1",
        "words, 1 layer, 10,688 rows, recall, local 96": WORDS + "--model.layers 1 --model.embedding recall "
                                                         "--model.embedding.rows 10688 --model.local-dim 96",
        "words, 1 layer, 18,176 rows, recall, local 64": WORDS + "--model.layers 1 --model.embedding recall "
                                                         "--model.embedding.rows 18176 --model.local-dim 64",
        "words, 2 layers, steps of 8 kB": WORDS + "--model.embedding.rows 2048 --train.batch-size 4",
        "tokens, 3 layers, 512 rows": TOKENS + "--model.layers 3 --model.embedding.rows 512",
        "tokens, 2 layers, 2,432 rows": TOKENS + "--model.layers 2 --model.embedding.rows 2432",
        "tokens, 2 layers, 2,432 rows, at 6e-3": TOKENS + "--model.layers 2 --model.embedding.rows 2432 --optim.lr 6e-3",
        "tokens, 1 layer, 4,352 rows": TOKENS + "--model.layers 1 --model.embedding.rows 4352",
        "tokens, 1 layer, 256 rows, recall": TOKENS + "--model.layers 1 --model.embedding recall --model.embedding.matches 2 "
                                             "--model.embedding.rows 256",
        "flat bytes, 3 layers, 3,584 rows, recall": BYTEWISE + "--model.layers 3 --model.embedding recall "
                                                    "--model.embedding.rows 3584",
        "flat bytes, 2 layers, 5,632 rows, recall": BYTEWISE + "--model.layers 2 --model.embedding recall "
                                                    "--model.embedding.rows 5632",
        "flat bytes, 1 layer, 7,680 rows, recall": BYTEWISE + "--model.layers 1 --model.embedding recall "
                                                    "--model.embedding.rows 7680",
        "flat bytes, 1 layer, 15,552 rows, recall, tables 96 wide": BYTEWISE + "--model.layers 1 --model.embedding recall "
                                                                    "--model.embedding.rows 15552 --model.local-dim 96",
        "flat bytes, 4 layers, 2,048 rows": BYTEWISE + "--model.layers 4 --model.embedding.rows 2048",
        "1,024 tokens, 2 layers, 1,152 rows, recall": FEWER + "--model.layers 2 --model.embedding recall "
                                                      "--model.embedding.matches 2 3 --model.embedding.rows 1152",
        "1,024 tokens, 1 layer, 3,392 rows, recall": FEWER + "--model.layers 1 --model.embedding recall "
                                                     "--model.embedding.matches 2 3 --model.embedding.rows 3392",
        "1,024 tokens, 1 layer, 9,600 rows, recall, tables 112 wide": FEWER + "--model.layers 1 --model.embedding recall "
            "--model.embedding.matches 2 3 --model.embedding.rows 9600 --model.local-dim 112",
        "1,024 tokens, 3 layers, 1,024 rows": FEWER + "--model.layers 3 --model.embedding.rows 1024",
        "16,384 tokens, 2 layers, 2,816 rows": MORE + "--model.layers 2 --model.embedding.rows 2816",
        "16,384 tokens, 1 layer, 8,448 rows": MORE + "--model.layers 1 --model.embedding.rows 8448",
    },
    baseline="words, 2 layers, 2,048 rows")
