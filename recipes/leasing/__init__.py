"""Ten minutes on a borrowed GPU: what `recipes/lease.py` consists of.

pack: a folder with all that the other machine needs. run: measure, train, score and bring back, by the clock. measure: one
measurement, in a process of its own. child: processes with a time limit. output: what comes back.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of a clone, or of a packed folder: both have the same layout
TEXT, BENCHMARKS, PACKAGES = ROOT / "text", ROOT / "eval", ROOT / "packages"  # only in a packed folder
TASKS = ("blimp", "arc_easy", "hellaswag")
