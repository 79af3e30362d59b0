"""How many operations a training step starts, for each way to compile it.

    python -m benchmarks launches [--presets 10m 50m 100m] [--ways off blocks whole]

A small model on a GPU waits for the start of its kernels, so their number decides its speed. They are counted here on a CPU: an
operation counts if it does work, and a kernel of compiled code counts as one operation. Operations on a list of tensors count
once, because a GPU does them in a few kernels. A step is forward, backward, clipping and the optimizer's update, without the
preparation of its batch. Rows are few and short, because the number doesn't depend on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks import common
from stlm.batches import BatchPlan
from stlm.model.room import from_tokens
from stlm.train import compiling
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.loop import Trainer
from stlm.train.presets import PRESETS

WAYS = [compiling.OFF, "blocks", "whole"]
SEQ_LEN, ROWS, STEPS = 256, 2, 4
TOGETHER = ("aten::_foreach_", "aten::_fused_", "aten::_scaled_dot_product", "aten::sort", "aten::_embedding_bag")  # with parts
VIEWS = {f"aten::{name}" for name in (
    "view", "reshape", "_unsafe_view", "expand", "expand_as", "as_strided", "t", "transpose", "permute", "unsqueeze", "squeeze",
    "slice", "select", "split", "split_with_sizes", "chunk", "unbind", "unfold", "narrow", "detach", "alias", "flatten",
    "unflatten", "view_as", "movedim", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_",
    "set_", "result_type", "can_cast", "lift_fresh", "_reshape_alias", "real", "mT", "item", "is_nonzero", "to", "_to_copy",
    "resolve_conj", "resolve_neg", "scalar_tensor")}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks launches", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["10m", "50m", "100m"], choices=list(PRESETS))
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    torch._inductor.config.cpp.enable_kernel_profile = True
    record: dict[str, Any] = {"question": "How many operations does a training step start?", "seq_len": SEQ_LEN, "rows": ROWS,
                              "presets": {}}
    for preset in given.presets:
        found = record["presets"][preset] = {}
        for way in given.ways:
            found[way] = launches(preset, given.data, way)
            common.save("launches", record)
    rows = [(preset, way, *(f"{found[part]:,.0f}" for part in ("operations", "kernels", "matrix products", "other operations")),
             f"{found['seconds to compile']:.0f}") for preset, ways in record["presets"].items() for way, found in ways.items()]
    common.print_table("operations that a step starts", ["preset", "compiled", "all", "compiled kernels", "matrix products",
                                                         "other operations", "first steps, s"], rows)


def launches(preset: str, data: str, way: str) -> dict[str, Any]:
    """Counts of one step, and the seconds that the first steps took, which compile."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(preset, data, Path(folder))
        compiling.compile_step(trainer.with_loss, way)
        ready = [trainer.source.batches(0, trainer.model)] * (STEPS + 2)
        trainer._batches = ready.__getitem__
        seconds = common.timed(lambda: [trainer.advance() for _ in range(2)])
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            for _ in range(STEPS):
                trainer.advance()
        compiling.undo(trainer.with_loss)
    counts = Counter[str]()
    for event in watched.events():
        if event.cpu_parent is None:
            counts.update(started(event))
    products = sum(n for name, n in counts.items() if name in ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"))
    kernels = sum(n for name, n in counts.items() if "cpp_fused" in name)
    total = sum(counts.values())
    return {"operations": total / STEPS, "kernels": kernels / STEPS, "matrix products": products / STEPS,
            "other operations": (total - kernels - products) / STEPS, "seconds to compile": seconds}


def started(event: FunctionEvent) -> Counter[str]:
    """The operations below an event of a profile, and itself, that do work."""
    whole = event.name.startswith(TOGETHER) or "cpp_fused" in event.name
    below = Counter[str]() if whole else sum((started(child) for child in event.cpu_children), Counter[str]())
    does_work = whole or (event.name.startswith("aten::") and event.name not in VIEWS and not below)
    return Counter({event.name: 1}) if does_work else below


def trainer_of(preset: str, data: str, folder: Path) -> Trainer:
    """A run of the preset with short rows, whose batches come as for a GPU."""
    config = PRESETS[preset]()
    config = dataclasses.replace(config, train=dataclasses.replace(
        config.train, seq_len=SEQ_LEN, batch_size=ROWS, grad_accum=1, precision="fp32", compile="off", log_every=10**6))
    run, corpus = RunFolder(folder / preset), common.open_text(data, config.data.tokenizer)
    run.create(config)
    trainer = build_run(run, config, corpus, common.CPU, [])
    plan = BatchPlan(corpus, trainer.objective, SEQ_LEN, ROWS, 1, config.seed, from_tokens(trainer.model, few=True))
    return dataclasses.replace(trainer, source=config.batches.build(plan))
