"""How good is the demo, and does it beat a compressor? Three minutes a run on two CPU cores, three seeds.

    python recipes/demo.py

A seed draws the weights, the order of the text and the built-in corpus itself, so compressors and entropy differ a little
between seeds too. Runs that are there already are not run again.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from stlm.config.decode import encode
from stlm.config.files import read_json
from stlm.train.folder import RUNS, write_whole
from stlm.train.presets import demo

SEEDS = (0, 1, 2)
QUESTION = "How many bits per byte does the demo reach in three minutes, beside xz -9e and the exact entropy?"
RULE = "Below xz on the same bytes, with every seed."


def main() -> None:
    seeds, hardware = [], None
    for seed in SEEDS:
        folder = RUNS / f"recipe-demo-{seed}"
        if not (folder / "results.json").exists():
            subprocess.run([sys.executable, "-m", "stlm", "train", "demo", "--seed", str(seed), "--name", folder.name,
                            "--resume"], check=True)
        found = read_json(folder / "results.json")
        hardware = read_json(folder / "env.json")
        seeds.append({"seed": seed, "val/bits_per_byte": found["val/bits_per_byte"], "entropy": found["entropy"],
                      **found["baselines"], "seconds": found["seconds"], "steps": found["steps"]})
    values = [run["val/bits_per_byte"] for run in seeds]
    arm = {"config": encode(demo()), "seeds": seeds, "mean": statistics.mean(values), "std": statistics.stdev(values),
           "n": len(values), "p": None}
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    record = {"question": QUESTION, "rule": RULE, "held_equal": "seconds", "arms": {"demo": arm}, "hardware": hardware,
              "git": git}
    path = Path("results") / "demo" / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record, indent=1) + "\n")
    print(f"{arm['mean']:.4f} +- {arm['std']:.4f} bits per byte over {len(values)} seeds; "
          f"xz {statistics.mean(run['xz -9e'] for run in seeds):.3f}, "
          f"entropy {statistics.mean(run['entropy'] for run in seeds):.3f}; written to {path}")


if __name__ == "__main__":
    main()
