"""Which objective makes the best model of about two million parameters? At equal FLOPs, by four measures.

    stlm compare recipes/objectives.py --jobs 2

The FLOPs of an objective's own layers and of its own passes count. Learning rates are to be those of objectives_rates.py,
which hasn't been run to its end. What a model writes is measured too, repetition above all: that is what unlikelihood is made
for.
"""

from stlm.compare.recipe import Recipe

BASE = "demo --train.cooldown 0.5 --optim.lr {rate} "
MASKED = "--objective masked_next "
EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.evaluate-every 200 --train.sample-every 100000 "
         "--train.checkpoint-every 1000")

ARMS = {
    "causal": (6e-3, ""),
    "masked, 1 row in 16": (6e-3, MASKED),
    "masked, 1 row in 4": (6e-3, MASKED + "--objective.ratio 0.25"),
    "masked, 1 row in 4, then none": (6e-3, MASKED + "--objective.ratio 0.5 --objective.final-ratio 0"),
    "masked, one way, 1 row in 16": (6e-3, MASKED + "--objective.two-way False"),
    "several bytes, layers": (6e-3, "--objective multi_byte --objective.weight 0.3"),
    "several bytes, no layers, to zero": (6e-3, "--objective multi_byte --objective.own-layers False --objective.weight 0.5 "
                                                "--objective.final-weight 0"),
    "next word": (6e-3, "--objective prefix"),
    "byte order": (6e-3, "--objective byte_order --objective.weight 0.3"),
    "next latent": (6e-3, "--objective next_latent"),
    "next thought": (6e-3, "--objective next_thought"),
    "reconstruct": (6e-3, "--objective reconstruct"),
    "spans, 1 row in 4": (6e-3, "--objective span"),
    "unlikelihood": (6e-3, "--objective unlikelihood"),
    "z-loss": (6e-3, "--objective z_loss"),
}


def at_rates(arms: dict[str, tuple[float, str]]) -> dict[str, str]:
    """The words of each arm: the base with the arm's learning rate, and the arm's own flags."""
    return {arm: BASE.replace("{rate}", f"{rate:g}") + flags for arm, (rate, flags) in arms.items()}


RECIPE = Recipe(
    question="Which objective is best for a model of about two million parameters, at equal FLOPs?",
    rule="The lowest mean bits per byte of held-out Wikipedia; BLiMP, the built-in minimal pairs and repetition beside it. An "
         "objective counts as better where p is below 0.01 again on fresh seeds.",
    equal="teraflops", amount=16.0, every=EVERY, arms=at_rates(ARMS), baseline="causal",
    tasks=("blimp", "world", "writing"), tasks_limit=2000,
    texts={"TinyStories": "$STLM_DATA/text/tinystories_sample/validation.jsonl.zst"})
