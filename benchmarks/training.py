"""Bytes of text per second in training of a 10M model, compared with other models of the same size.

    python -m benchmarks training [--rounds 5] [--seconds 4]

Arms take turns, and each ratio is of two arms measured right after each other, because absolute figures drift with the machine.
All read the same text. Steps include data, clipping and the optimizer. "With care" means bf16, compiled, the fused AdamW and
the faster attention.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import common, nanogpt
from benchmarks.llama import llama_of
from stlm.config.decode import encode
from stlm.model.count import count
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.presets import PRESETS

OURS, CARE, SHIPPED, BPE = "stlm 10m", "nanoGPT, with care", "nanoGPT, as shipped", "stlm 10m-bpe (4096)"


class Arm(Protocol):
    parameters: int
    flops_per_byte: float
    bf16: bool  # whether it computes in bf16 and is compared with that ceiling

    def step(self) -> int:
        """Do one step. Returns the number of bytes of text in it."""


class Preset:
    """One of our presets, trained by our loop."""

    def __init__(self, name: str, source: str, folder: Path) -> None:
        config = PRESETS[name]()
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, minutes=60.0, steps=None, compile="on"))
        run = RunFolder(folder / name)
        run.create(config)
        self.trainer = build_run(run, config, common.open_text(source, config.data.tokenizer), common.CPU, [])
        self.parameters = count(self.trainer.model).unique
        self.flops_per_byte = self.trainer.decisions.flops_per_byte
        self.bf16 = self.trainer.decisions.precision == "bf16"

    def step(self) -> int:
        before = self.trainer.counters.n_bytes
        self.trainer.advance()
        return self.trainer.counters.n_bytes - before


class NanoGPT:
    """nanoGPT's small model over bytes."""

    def __init__(self, text: np.ndarray, care: bool, explicit: bool = False) -> None:
        recipe = dataclasses.replace(nanogpt.TEN_MILLION, explicit=explicit)
        self.training, self.bf16 = nanogpt.Training(recipe, text, seed=0, care=care), care
        self.parameters = sum(p.numel() for p in self.training.model.parameters())
        self.flops_per_byte = 6 * self.parameters + 12 * recipe.layers * recipe.dim * recipe.context

    def step(self) -> int:
        self.training.step(0.0)
        return self.training.bytes_per_step


class Llama:
    """Hugging Face's Llama over bytes, 16 windows of 256."""

    def __init__(self, text: np.ndarray, care: bool) -> None:
        self.model, self.bf16 = llama_of(10_000_000).train(), care
        self.forward = torch.compile(self.model) if care else self.model
        self.windows = nanogpt.Windows(text, nanogpt.TEN_MILLION, seed=0)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=care)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.flops_per_byte = 6.0 * self.parameters

    def step(self) -> int:
        inputs, targets = self.windows.batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            logits = self.forward(inputs, use_cache=False).logits
        F.cross_entropy(logits.float().flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return inputs.numel()


def speed(arm: Arm, seconds: float) -> float:
    """Bytes per second, measured over at least ``seconds`` and at least two steps."""
    start, n_bytes, steps = time.perf_counter(), 0, 0
    while steps < 2 or time.perf_counter() - start < seconds:
        n_bytes, steps = n_bytes + arm.step(), steps + 1
    return n_bytes / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="time of each arm in each round")
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    text = common.all_bytes(common.open_text(given.data), "train", 20_000_000)
    with tempfile.TemporaryDirectory() as folder:
        arms: dict[str, Arm] = {}
        with common.CONSOLE.status("compiling"):
            arms[OURS], arms[BPE] = (Preset(name, given.data, Path(folder)) for name in ("10m", "10m-bpe"))
            arms[SHIPPED] = NanoGPT(text, care=False)
            both = [NanoGPT(text, care=True, explicit=explicit) for explicit in (False, True)]
            arms[CARE] = max(both, key=lambda arm: [speed(arm, given.seconds) for _ in range(2)][1])
            arms["Llama, Hugging Face"] = Llama(text, care=False)
            arms["Llama, with care"] = Llama(text, care=True)
            for arm in arms.values():
                speed(arm, given.seconds)
        rounds = []
        for _ in range(given.rounds):
            rounds.append({name: speed(arm, given.seconds) for name, arm in arms.items()} | {"ceilings": common.ceilings()})
            common.CONSOLE.print("   ".join(f"{name} {rounds[-1][name] / 1e3:.1f}" for name in arms), "kB/s", highlight=False)
    record: dict = {"question": "How many bytes of text a second does a 10M model learn from?", "held_equal": "parameters",
                    "rounds": rounds, "arms": {}}
    for name, arm in arms.items():
        share = [r[name] * arm.flops_per_byte / common.gemm_ceiling(r["ceilings"], arm.bf16) for r in rounds]
        record["arms"][name] = {
            "parameters": arm.parameters, "mflop_per_byte": arm.flops_per_byte / 1e6,
            "bytes_per_second": common.spread(r[name] for r in rounds), "gemm_share": common.spread(share),
            "times_as_fast": common.spread(r[OURS] / r[name] for r in rounds)}
    record["decided"] = encode(arms[OURS].trainer.decisions)  # type: ignore[attr-defined]
    common.save("training", record)
    common.print_table(
        "training, bytes of text a second",
        ["", "parameters", "MFLOP/byte", "kB/s", "of the GEMM ceiling", "stlm is faster by"],
        ([name, f"{a['parameters']:,}", f"{a['mflop_per_byte']:.1f}", f"{a['bytes_per_second']['mean'] / 1e3:.1f}",
          f"{a['gemm_share']['mean']:.0%}", "" if name == OURS else common.shown(a["times_as_fast"])]
         for name, a in record["arms"].items()))
