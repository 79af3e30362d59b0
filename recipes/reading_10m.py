"""Which way of reading bytes is best at ten million parameters? At equal bytes of text, beside flat bytes and byte pairs.

    stlm compare recipes/reading_10m.py

For a GPU. Presets of ten million parameters and their controls, each with the learning rate that was best for its kind at two
million.
"""

from local_10m import FOUR, THREE

from stlm.compare.recipe import Recipe

POOLED = THREE + "--optim.lr 3e-3 --train.seq-len 1024 --train.batch-size 32 "
FLAT = "10m-flat --model.copying pointer --optim.lr 1.5e-3 --train.seq-len 1024 --train.batch-size 32 "
BPE = FOUR + "--optim.lr 3e-3 --train.seq-len 256 --train.batch-size 32 --data.tokenizer.vocab-size "
TEXT = "$STLM_DATA/text"

RECIPE = Recipe(
    question="Which way of reading bytes is best at ten million parameters, at equal bytes of text?",
    rule="The lowest mean bits per byte of held-out Wikipedia.",
    equal="megabytes", amount=25.0,
    every=f"--data {TEXT}/wikipedia_en_2015 --train.warmup 100 --train.cooldown 0.5 --train.precision bf16 --train.compile off "
          "--train.evaluate-every 100 --train.checkpoint-every 1000 --train.sample-every 100000",
    arms={
        "whitespace": POOLED,
        "stride 6": POOLED + "--model.patching stride --model.patching.stride 6",
        "dynamic": POOLED + "--model.patching dynamic",
        "flat bytes": FLAT,
        "BPE 4,096": BPE + "4096",
        "BPE 16,384": BPE + "16384 --model.local-dim 192 --model.layers 3 --model.trunk.ffn.ratio 4.65",
    },
    baseline="flat bytes", against=("whitespace", "BPE 4,096"),
    texts={"WikiText-2": f"{TEXT}/wikitext2_raw/test.jsonl.zst", "Gutenberg": f"{TEXT}/gutenberg_classics/validation.jsonl.zst",
           "TinyStories": f"{TEXT}/tinystories_sample/validation.jsonl.zst"})
