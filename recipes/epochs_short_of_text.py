"""How often should five or ten megabytes of text be read? For strategies_short_of_text.py.

    stlm compare recipes/epochs_short_of_text.py --jobs 2

The weights that were best on held-out text count. Ten megabytes say what twice the text would bring. One seed: this finds a
number of epochs and claims no more.
"""

from stlm.compare.recipe import Recipe

EVERY = ("--data $STLM_DATA/text/wikipedia_en_2015 --train.warmup 50 --train.evaluate-every 200 --train.sample-every 100000 "
         "--train.checkpoint-every 1000 --train.compile on")
TEXTS = {"featured articles": "$STLM_DATA/text/wikipedia_en_featured/test.jsonl.zst"}  # nothing is chosen by it

RECIPE = Recipe(
    question="How often should a model of about two million parameters read five or ten megabytes?",
    rule="The lowest bits per byte of held-out text for each amount of text. Each arm has its own number of epochs.",
    equal="epochs", amount=3.0, seeds=(0,), every=EVERY,
    arms={f"{megabytes} MB, {epochs} times": f"demo --data.first-megabytes {megabytes} --train.epochs {epochs}"
          for megabytes, epochs in ((5, 3), (5, 6), (5, 12), (10, 3), (10, 6))},
    baseline="5 MB, 3 times", texts=TEXTS)
