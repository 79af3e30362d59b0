"""How good is the demo, and does it beat a compressor? Three minutes a run on two CPU cores, three seeds.

    python recipes/demo.py

A seed draws the weights, the order of the text and the built-in corpus itself, so compressors and entropy differ a little
between seeds too. Runs that are there already are not run again.
"""

from __future__ import annotations

import statistics

from record import arm, save, trained

from stlm.config.decode import encode
from stlm.config.files import read_json
from stlm.train.presets import demo

SEEDS = (0, 1, 2)
QUESTION = "How many bits per byte does the demo reach in three minutes, beside xz -9e and the exact entropy?"
RULE = "Below xz on the same bytes, with every seed; within 15 % of the exact entropy, in the mean."


def main() -> None:
    folders = [trained(f"demo-{seed}", "demo", ["--seed", str(seed)]) for seed in SEEDS]
    seeds = []
    for seed, folder in zip(SEEDS, folders, strict=True):
        found = read_json(folder / "results.json")
        seeds.append({"seed": seed, "val/bits_per_byte": found["val/bits_per_byte"], "entropy": found["entropy"],
                      **found["baselines"], "seconds": found["seconds"], "steps": found["steps"]})
    result = arm(encode(demo()), seeds)
    path = save("demo", QUESTION, RULE, "seconds", {"demo": result}, folders)
    entropy = statistics.mean(run["entropy"] for run in seeds)
    xz = statistics.mean(run["xz -9e"] for run in seeds)
    print(f"{result['mean']:.4f} +- {result['std']:.4f} bits per byte over {len(seeds)} seeds, "
          f"{result['mean'] / entropy - 1:.1%} above the entropy of {entropy:.3f}; xz {xz:.3f}; written to {path}")


if __name__ == "__main__":
    main()
