"""Which way of reading bytes is best? All of them, at equal seconds, beside flat bytes and byte-pair encodings.

    stlm compare recipes/reading_bytes.py

About two million unique parameters each. Whatever helps all alike is given to all that gain by it: hashed n-grams, recall, the
pointer, tied tables, a learning rate found by reading_rates.py and a shape found by reading_shapes.py. ``paper`` is the
original, as it was but for its faults.
"""

from stlm.compare.recipe import Recipe

PACE = " --train.warmup 50 --train.decay 0.5 --optim.lr {rate} "
POOLED = "demo --model.trunk.ffn.ratio 3 --train.seq 2048 --train.rows 2" + PACE
GRAMS = "--model.embedding.rows 2048 "
FLAT = "10m-flat --model.trunk.ffn.ratio 3 --model.embedding ngrams --model.copying pointer --train.rows 4" + PACE
BPE = FLAT + "--data.codec bpe --data.codec.vocabulary {size} --model.embedding.orders 2 --train.seq 256 "
PAPER = ("paper --model.dim 256 --model.layers 2 --model.trunk.heads 4 --model.trunk.kv-heads 4 --model.local-dim 64 "
         "--model.local.heads 4 --model.local.ffn.ratio 4 --model.head.layers 3 --model.head.heads 4 --train.seq 512 "
         "--train.rows 8" + PACE)
RATES = {"stride 4": 6e-3, "stride 6": 6e-3, "stride 8": 6e-3, "entropy": 6e-3, "whitespace, plain": 6e-3, "paper": 6e-3,
         "BPE 1,024": 6e-3, "BPE 50,257": 6e-3}  # of reading_rates.py; 3e-3 is best for the others


def arms(rates: dict[str, float]) -> dict[str, str]:
    """The words of each arm at its learning rate."""
    pooled = {f"stride {n}": f"--model.patching stride --model.patching.stride {n}" for n in (4, 6, 8)}
    pooled |= {
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
    return {arm: words.replace("{rate}", f"{rates.get(arm, 3e-3):g}") for arm, words in out.items()}


TEXT = "$STLM_DATA/text"
EVERY = f"--data {TEXT}/wikipedia_en_2015 --train.evaluate-every 200 --train.sample-every 100000 --train.compile on"

RECIPE = Recipe(
    question="Which way of reading bytes is best, at equal seconds?",
    rule="The lowest mean bits per byte of held-out Wikipedia. The default stays whitespace unless another is lower with p "
         "below 0.05; it shall be at or below the best byte-pair encoding and 15 % below flat bytes.",
    equal="minutes", amount=6.0, every=EVERY,
    first={"reader": f"reader --data {TEXT}/wikipedia_en_2015 --train.compile on --train.minutes 1"},
    arms={arm: words + " --train.minutes 5" * (arm == "entropy")  # the reader took the sixth
          for arm, words in arms(RATES).items()}, baseline="flat bytes",
    texts={"WikiText-2": f"{TEXT}/wikitext2_raw/test.jsonl.zst", "Gutenberg": f"{TEXT}/gutenberg_classics/validation.jsonl.zst",
           "TinyStories": f"{TEXT}/tinystories_sample/validation.jsonl.zst"})
