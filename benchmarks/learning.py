"""The quality of a 10M model after the same minutes on the same text, compared with nanoGPT's recipe and a BPE model.

    python -m benchmarks learning [--minutes 10] [--seeds 0 1 2]
    python -m benchmarks learning --sweep --minutes 3 --seeds 0      (their learning rates first)

One arm of ``10m`` has half the minutes. Another has three layers, which ``10m`` had before recipes/shapes_10m.py. Minutes
count only training itself in every arm: compiling, reading the text and scoring aren't counted. All held-out text is scored.
nanoGPT's arm has our settings for speed (bf16, compiled, fused AdamW, explicit attention); its authors' settings are slower.
Each finished run is recorded at once and isn't run again. The picture, ``learning-10m.svg``, shows the score on the first 32 kB
of held-out text during training.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

from recipes.local_10m import POOLED

from benchmarks import common, nanogpt
from stlm.train.folder import EXCERPT_BITS, RUNS, read_lines

OURS, HALF, THREE, BPE = "stlm 10m", "stlm 10m, half the time", "stlm 10m with three layers", "stlm 10m-bpe (4096)"
PEER = "nanoGPT, with care"
WORDS = {OURS: "10m", HALF: "10m", BPE: "10m-bpe", THREE: POOLED}
RATES = {OURS: (1e-3, 2e-3, 4e-3), THREE: (2e-3, 4e-3, 8e-3), BPE: (1e-3, 2e-3, 4e-3), PEER: (1e-3, 2e-3, 4e-3)}
LOOK = 32_000  # bytes of held-out text for the curve
LOOKS = 5  # number of scores during training in nanoGPT's arm; ours are every so many steps, and take less time
RULE = ("10m has at least 3 % fewer bits per byte than with three layers, in the mean over the seeds; in half the time it is "
        "at or below the BPE model.")


def run_ours(arm: str, source: str, minutes: float, rate: float | None, seed: int) -> dict[str, Any]:
    preset, *own = WORDS[arm].split()
    length = minutes / 2 if arm == HALF else minutes
    flags = [*own, "--data", source, "--train.minutes", f"{length:g}", "--train.compile", "on", "--train.sample-every",
             "100000", "--train.evaluate-every", "200", "--train.evaluate-kilobytes", f"{LOOK / 1000:g}"]
    found = common.trained(preset, [*flags, *(["--optim.lr", str(rate)] if rate else [])], seed)
    looks = [line for line in read_lines(RUNS / found.pop("run") / "metrics.jsonl") if EXCERPT_BITS in line]
    return {**found, "curve": [[look["seconds"], look[EXCERPT_BITS]] for look in looks]}


def run_peer(source: str, minutes: float, rate: float | None, seed: int) -> dict[str, Any]:
    corpus = common.open_text(source)
    text, held_out = common.all_bytes(corpus, "train"), common.all_bytes(corpus, "validation")
    recipe = dataclasses.replace(nanogpt.TEN_MILLION, explicit=True, lr=rate or nanogpt.TEN_MILLION.lr)
    training = nanogpt.Training(recipe, text, seed, care=True)
    training.warm_up()
    spent, curve = 0.0, []
    while spent < 60 * minutes:
        start = time.perf_counter()
        training.step(spent / (60 * minutes))
        spent += time.perf_counter() - start
        if spent >= 60 * minutes * (len(curve) + 1) / LOOKS:
            curve.append([spent, nanogpt.bits_per_byte(training.model, held_out, LOOK)])
            print(f"nanoGPT, seed {seed}: {spent / 60:.1f} of {minutes:g} minutes, step {training.step_number:,}, "
                  f"{curve[-1][1]:.3f} bits per byte", flush=True)
    return {"bits_per_byte": nanogpt.bits_per_byte(training.model, held_out), "seconds": spent,
            "bytes": training.step_number * training.bytes_per_step, "steps": training.step_number,
            "parameters": sum(p.numel() for p in training.model.parameters()), "curve": curve}


def picture(record: dict[str, Any], path: Path) -> None:
    """Bits per byte against seconds, with a line for each run and a colour for each arm."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "stlm", "font.size": 11})
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for (title, arm), colour in zip(record["arms"].items(), ("#9a3412", "#c2410c", "#1d4ed8", "#f59e0b", "#6b7280"),
                                    strict=False):
        for run in arm["seeds"]:
            seconds, bits = zip(*run["curve"], strict=True)
            axes.plot([s / 60 for s in seconds], bits, color=colour, linewidth=1.3)
        axes.annotate(title, (seconds[-1] / 60, bits[-1]), xytext=(6, 0), textcoords="offset points", color=colour, va="center")
    axes.set(xlabel="minutes of training on two CPU cores", ylabel="bits per byte of held-out text", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks learning", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sweep", action="store_true", help="try several learning rates instead of each arm's own")
    parser.add_argument("--arms", nargs="+", default=[THREE, OURS, BPE, HALF, PEER])
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    name = f"learning-{'rates-' if given.sweep else ''}{given.minutes:g}m"
    arms = {}
    for arm in given.arms:
        for rate in RATES.get(arm, ()) if given.sweep else (None,):
            arms[f"{arm} at {rate}" if rate else arm] = (
                functools.partial(run_peer, given.data, given.minutes, rate) if arm == PEER
                else functools.partial(run_ours, arm, given.data, given.minutes, rate))
    record = common.collect(
        name, {"question": "Bits per byte of held-out text after the same minutes on the same text?", "rule": RULE,
               "held_equal": f"{given.minutes:g} minutes on this machine", "text": Path(given.data).name},
        arms, given.seeds, "bits_per_byte")
    common.print_table(
        f"bits per byte of held-out text after {given.minutes:g} minutes", ["", "parameters", "MB read", "bits per byte", "n"],
        ([title, f"{a['seeds'][0]['parameters']:,}", f"{sum(r['bytes'] for r in a['seeds']) / a['n'] / 1e6:.1f}",
          common.shown(a, 4), str(a["n"])] for title, a in record["arms"].items()))
    if not given.sweep:
        picture(record, common.RESULTS / f"{name}.svg")
