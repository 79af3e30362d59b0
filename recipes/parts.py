"""What does each part of ``10m`` contribute? One change at a time at equal bytes, three seeds.

    python recipes/parts.py

2.0 MB of Wikipedia a run (``STLM_DATA`` has to be set), two runs side by side on one thread each. Runs that are there
already are not run again.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from record import arm, save, trained

from stlm.config.files import read_json

SEEDS = (0, 1, 2)
STEPS = 488  # of 4 x 1024 bytes
QUESTION = "How many bits per byte does 10m lose or win by one change, at equal bytes?"
RULE = "A change counts where the means differ by more than two deviations."
NGRAMS = ["--model.embedding.rows", "32768"]
ARMS = {
    "10m": [],
    "without the pointer": ["--model.copying", "none"],
    "without recall": ["--model.embedding", "ngrams", *NGRAMS],
    "without n-grams and recall": ["--model.embedding", "symbols"],
    "without all three": ["--model.embedding", "symbols", "--model.copying", "none"],
    "without pooling's trunk of three layers: two": ["--model.layers", "2"],
    "local width 192": ["--model.local-dim", "192"],
    "steps of 8 kB": ["--train.rows", "8", "--train.steps", str(STEPS // 2)],
    "steps of 2 kB": ["--train.rows", "2", "--train.steps", str(STEPS * 2)],
    "patches of at most 8 bytes": ["--model.patching.cap", "8"],
    "without QK-norm": ["--model.qk-norm", "False"],
    "SwiGLU": ["--model.ffn", "swiglu"],
    "averaged weights": ["--train.ema", "0.98"],
    "Muon": ["--optim", "muon", "--optim.adamw-lr", "3e-3"],
}


def main() -> None:
    if "STLM_DATA" not in os.environ:
        sys.exit("set STLM_DATA to the folder that holds text/wikipedia_en_2015")
    text = ["--data", str(Path(os.environ["STLM_DATA"]) / "text" / "wikipedia_en_2015"), "--train.steps", str(STEPS),
            "--train.warmup", "50", "--train.precision", "bf16", "--train.compile", "on",
            "--train.evaluate-every", "100000", "--train.sample-every", "100000"]

    def run(job: tuple[str, int]) -> Path:
        title, seed = job
        name = "-".join(["parts", *title.replace(":", "").split(), str(seed)])
        return trained(name, "10m", [*text, "--seed", str(seed), *ARMS[title]], threads=1)

    jobs = [(title, seed) for seed in SEEDS for title in ARMS]
    with ThreadPoolExecutor(2) as both:
        folders = dict(zip(jobs, both.map(run, jobs), strict=True))
    arms = {}
    for title, flags in ARMS.items():
        found = [(seed, read_json(folders[title, seed] / "results.json")) for seed in SEEDS]
        arms[title] = arm(flags, [{"seed": seed, "val/bits_per_byte": result["val/bits_per_byte"], "seconds": result["seconds"],
                                   "parameters": result["parameters"]["unique"]} for seed, result in found])
    path = save("parts", QUESTION, RULE, "bytes", arms, folders.values())
    base = arms["10m"]["mean"]
    for title, found in sorted(arms.items(), key=lambda pair: pair[1]["mean"]):
        print(f"{title:<46} {found['mean']:.4f} +- {found['std']:.4f}  {found['mean'] / base - 1:+.1%}")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
