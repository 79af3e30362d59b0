"""How good is the demo, and does it beat a compressor?

    stlm compare recipes/demo.py

The seed decides the weights, the order of the text and the built-in corpus itself. So the compressors' figures and the entropy
also differ a little between seeds.
"""

from stlm.compare.recipe import Recipe

RECIPE = Recipe(
    question="How many bits per byte does the demo reach in three minutes, beside xz -9e and the exact entropy?",
    rule="Below xz on the same bytes, with every seed; within 15 % of the exact entropy, in the mean.",
    equal="minutes", amount=3.0,
    arms={"demo": "demo"}, baseline="demo")
