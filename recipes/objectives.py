"""Which objective makes the best model of about two million parameters? At equal FLOPs, by four measures.

    stlm compare recipes/objectives.py --jobs 2

The FLOPs of an objective's own layers and of its own passes count. Learning rates are those of objectives_rates.py. What a
model writes is measured too, repetition above all: that is what unlikelihood is made for.
"""

from strategies import EVERY, at_rate

from stlm.compare.recipe import Recipe

MASKED = "--objective masked_next "

# the flags of each arm
ARMS = {
    "causal": "",
    "masked, 1 row in 16": MASKED,
    "masked, 1 row in 4": MASKED + "--objective.ratio 0.25 ",
    "masked, 1 row in 4, then none": MASKED + "--objective.ratio 0.5 --objective.final-ratio 0 ",
    "masked, one way, 1 row in 16": MASKED + "--objective.two-way False ",
    "several bytes, layers": "--objective multi_byte --objective.weight 0.3 ",
    "several bytes, no layers, to zero": "--objective multi_byte --objective.own-layers False --objective.weight 0.5 "
                                         "--objective.final-weight 0 ",
    "next word": "--objective prefix ",
    "byte order": "--objective byte_order --objective.weight 0.3 ",
    "next latent": "--objective next_latent ",
    "next thought": "--objective next_thought ",
    "reconstruct": "--objective reconstruct ",
    "spans, 1 row in 4": "--objective span ",
    "unlikelihood": "--objective unlikelihood ",
    "z-loss": "--objective z_loss ",
}
# the best of objectives_rates.py
RATES = {arm: 1.5e-3 if arm.startswith("masked") else 3e-3 for arm in ARMS} | {"next latent": 6e-3}

RECIPE = Recipe(
    question="Which objective is best for a model of about two million parameters, at equal FLOPs?",
    rule="The lowest mean bits per byte of held-out Wikipedia; BLiMP, the built-in minimal pairs and repetition beside it. An "
         "objective counts as better where p is below 0.01 again on fresh seeds.",
    equal="teraflops", amount=16.0, every=EVERY, arms={arm: at_rate(flags, RATES[arm]) for arm, flags in ARMS.items()},
    baseline="causal",
    tasks=("blimp", "world", "writing"), tasks_limit=2000,
    texts={"TinyStories": "$STLM_DATA/text/tinystories_sample/validation.jsonl.zst"})
