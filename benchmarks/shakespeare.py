"""Nats per character of tinyshakespeare after three minutes, compared with nanoGPT's own CPU demo.

    python -m benchmarks shakespeare [--seeds 1 2 3 4 5]

The split is nanoGPT's: the first 90 % is for training, the last 10 % is held out, and all of that is scored. nanoGPT's demo (4
layers of width 128, context 64, batches of 12, 2000 steps, float32) has its authors' settings, without a limit of time.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import time
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks import common, nanogpt

STEPS = 2000  # steps of nanoGPT's demo
OURS = ["--model.embedding", "tokens", "--model.layers", "3", "--optim.local-lr-mult", "1", "--optim.weight-decay", "1"]
RULE = "At or below 1.36 nats a character, in the mean over five seeds that nothing was chosen by."


def ours(source: str, seed: int) -> dict[str, Any]:
    found = common.trained("demo", ["--data", source, *OURS], seed)
    return {"nats": found.pop("bits_per_byte") * math.log(2), **found}


def theirs(source: str, seed: int) -> dict[str, Any]:
    """nanoGPT's demo. Tokens are the 65 characters that occur in the text."""
    corpus = common.open_text(source)
    parts = [common.all_bytes(corpus, split) for split in ("train", "validation")]
    characters = np.unique(np.concatenate(parts))
    text, held_out = (np.searchsorted(characters, part).astype(np.uint8) for part in parts)
    recipe = dataclasses.replace(nanogpt.SHAKESPEARE, vocab_size=len(characters))
    training = nanogpt.Training(recipe, text, seed, care=False)
    start = time.perf_counter()
    for step in track(range(STEPS), f"nanoGPT's demo, seed {seed}", console=common.CONSOLE, transient=True):
        training.step(step / STEPS)
    spent = time.perf_counter() - start
    return {"nats": nanogpt.bits_per_byte(training.model.eval(), held_out) * math.log(2), "seconds": spent,
            "bytes": STEPS * training.bytes_per_step, "parameters": sum(p.numel() for p in training.model.parameters())}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks shakespeare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--data", default=common.real_text("tinyshakespeare"))
    given = parser.parse_args(arguments)
    record = common.collect(
        "shakespeare", {"question": "Nats a character of held-out tinyshakespeare?", "rule": RULE},
        {"nanoGPT's demo": functools.partial(theirs, given.data), "stlm, three minutes": functools.partial(ours, given.data)},
        given.seeds, "nats")
    common.print_table(
        "tinyshakespeare, nats a held-out character", ["", "parameters", "seconds", "MB read", "nats", "n"],
        ([name, f"{arm['seeds'][0]['parameters']:,}", f"{arm['seeds'][0]['seconds']:.0f}",
          f"{arm['seeds'][0]['bytes'] / 1e6:.1f}", common.shown(arm, 3), str(arm["n"])]
         for name, arm in record["arms"].items()))
