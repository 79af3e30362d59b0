"""Which way of reading bytes is best? All ways of cutting patches, flat bytes and byte-pair encodings, at equal seconds.

    stlm compare recipes/reading_bytes.py

Each arm has about two million unique parameters. What helps every way is given to every way that gains by it: hashed n-grams,
recall, the pointer and tied tables. Learning rates come from reading_rates.py, shapes from reading_shapes.py; reading_longer.py
checks both. In each arm all parts learn at one rate. ``paper`` is the original model with its faults mended. All seeds of
``entropy`` use one reader.
"""

from stlm.compare.recipe import Recipe

SCHEDULE = " --train.warmup 50 --train.cooldown 0.5 --optim.lr {rate} "
POOLED = ("demo --optim.local-lr-mult 1 --model.layers 1 --model.local-dim 96 --model.trunk.ffn.ratio 3 "
          "--model.embedding recall --model.embedding.rows 10688 --train.seq-len 2048 --train.batch-size 2" + SCHEDULE)
FLAT = "10m-flat --model.trunk.ffn.ratio 3 --model.copying pointer --train.batch-size 4" + SCHEDULE
BPE = FLAT + "--train.seq-len 256 --model.embedding.orders 2 --data.tokenizer bpe --data.tokenizer.vocab-size "
PAPER = ("paper --model.dim 256 --model.layers 2 --model.trunk.heads 4 --model.trunk.kv-heads 4 --model.local-dim 64 "
         "--model.local.heads 4 --model.local.ffn.ratio 4 --model.head.layers 3 --model.head.heads 4 --train.seq-len 512 "
         "--train.batch-size 8" + SCHEDULE)
ENTROPY = ("--model.patching entropy --model.patching.run {reader} --model.patching.threshold 3.6 "
           "--model.embedding.rows 8480 --train.minutes 5")  # the reader took one of six minutes, and parameters of some rows
TEXT = "$STLM_DATA/text"


def shape(dim: int, local: int, layers: int, embedding: str, rows: int) -> str:
    """Flags of a control: where its parameters are."""
    return (f" --model.dim {dim} --model.trunk.heads {dim // 32} --model.local-dim {local} --model.layers {layers} "
            f"--model.embedding {embedding} --model.embedding.rows {rows} ")


ARMS = {
    "stride 4": (3e-3, POOLED + "--model.patching stride --model.patching.stride 4"),
    "stride 6": (3e-3, POOLED + "--model.patching stride --model.patching.stride 6"),
    "stride 8": (3e-3, POOLED + "--model.patching stride --model.patching.stride 8"),
    "whitespace": (3e-3, POOLED),
    "subword": (3e-3, POOLED + "--data.tokenizer subword --model.patching subword"),
    "entropy": (3e-3, POOLED + ENTROPY),
    "dynamic": (3e-3, POOLED + "--model.patching dynamic --model.embedding.rows 10432"),
    "paper": (6e-3, PAPER),
    "flat bytes": (1.5e-3, FLAT + shape(192, 192, 1, "recall", 7680)),
    "BPE 1,024": (3e-3, BPE + "1024" + shape(224, 224, 2, "recall", 1152) + "--model.embedding.matches 2 3"),
    "BPE 4,096": (3e-3, BPE + "4096" + shape(192, 192, 3, "ngrams", 512)),
    "BPE 16,384": (3e-3, BPE + "16384" + shape(192, 64, 2, "ngrams", 2816)),
    "BPE 50,257": (6e-3, BPE + "50257" + shape(128, 32, 2, "ngrams", 1024)),
}

EVERY = f"--data {TEXT}/wikipedia_en_2015 --train.evaluate-every 200 --train.sample-every 100000 --train.compile on"

RECIPE = Recipe(
    question="Which way of reading bytes is best, at equal seconds?",
    rule="The lowest mean bits per byte of held-out Wikipedia. The default stays whitespace unless another is lower with p "
         "below 0.05; it shall be at or below the best byte-pair encoding and 15 % below flat bytes.",
    equal="minutes", amount=6.0, every=EVERY,
    first={"reader": f"reader --data {TEXT}/wikipedia_en_2015 --train.compile on --train.minutes 1"},
    arms={arm: words.replace("{rate}", f"{rate:g}") for arm, (rate, words) in ARMS.items()}, baseline="flat bytes",
    against=("whitespace", "BPE 4,096"),
    texts={"WikiText-2": f"{TEXT}/wikitext2_raw/test.jsonl.zst", "Gutenberg": f"{TEXT}/gutenberg_classics/validation.jsonl.zst",
           "TinyStories": f"{TEXT}/tinystories_sample/validation.jsonl.zst"})
