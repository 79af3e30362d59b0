"""Which learning rate is best for ``10m`` with steps of 64 kB? For a GPU, where steps are large.

    stlm compare recipes/batch_rates.py --jobs 3

One seed: this finds a rate and claims no more.
"""

from local_10m import THREE

from stlm.compare.recipe import Recipe

T = "$STLM_DATA/text"
SOURCES = ("wikipedia_en_2015", "gutenberg_classics", "openstax_textbooks", "us_presidential_speeches", "tinystories_sample")

RECIPE = Recipe(
    question="Which learning rate is best for 10m with steps of 64 kB?",
    rule="The lowest bits per byte.",
    equal="megabytes", amount=30.0, seeds=(0,),
    every=f"--data {','.join(f'{T}/{name}' for name in SOURCES)} --train.seq-len 2048 --train.batch-size 32 --train.warmup 100 "
          "--train.precision bf16 --train.compile off --train.checkpoint-every 1000 --train.evaluate-every 100 "
          "--train.sample-every 100000",
    arms={f"at {rate}": f"{THREE}--optim.lr {rate}" for rate in (2e-3, 4e-3, 8e-3)}, baseline="at 0.002")
