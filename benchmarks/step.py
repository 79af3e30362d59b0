"""The time of a training step by kind of work, and the time that its matrix products would take at the ceiling.

    python -m benchmarks step [--preset 10m] [--steps 8]

It also writes a flame chart of the steps, ``runs/step-PRESET.json``. Open it at ui.perfetto.dev or chrome://tracing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks import common
from benchmarks.training import Preset
from stlm.train.folder import RUNS
from stlm.train.presets import PRESETS

KINDS = {  # an operation is of the first kind that has a word which is part of its name
    "matrix products": ("aten::mm", "aten::addmm"),
    "attention's products": ("aten::bmm", "aten::baddbmm"),
    "norms, gates and residuals, fused": ("CompiledFxGraph",),
    "tables: rows looked up, their gradient": ("embedding",),
    "fresh memory set to zero": ("aten::fill_", "aten::zero_"),
    "optimizer": ("adamw", "Optimizer"),
    "clipping": ("linalg_vector_norm", "_foreach_norm"),
    "pairs, patches and hashes": ("gather", "scatter", "index", "sort", "cumsum", "cumprod", "cummax", "searchsorted",
                                  "repeat_interleave", "nonzero"),
    "cross-entropy": ("log_softmax", "nll_loss"),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks step", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="10m", choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        arm = Preset(given.preset, given.data, Path(folder))

        def steps() -> int:
            return sum(arm.step() for _ in range(given.steps))

        steps()
        start = time.perf_counter()
        n_bytes = steps() / given.steps
        whole = (time.perf_counter() - start) / given.steps
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            steps()
    RUNS.mkdir(exist_ok=True)
    chart = RUNS / f"step-{given.preset}.json"
    watched.export_chrome_trace(str(chart))
    spent: dict[str, float] = defaultdict(float)
    for event in watched.key_averages():
        kind = next((kind for kind, words in KINDS.items() if any(word in event.key for word in words)), "everything else")
        spent[kind] += event.self_cpu_time_total / 1e6 / given.steps
    ceilings = common.ceilings()
    floor = n_bytes * arm.flops_per_byte / common.gemm_ceiling(ceilings, arm.bf16)
    total = sum(spent.values())
    record = {"question": "Where does the time of a training step go?", "preset": given.preset, "bytes": n_bytes,
              "milliseconds": 1e3 * whole, "milliseconds_profiled": 1e3 * total, "floor_milliseconds": 1e3 * floor,
              "ceilings": ceilings, "share": {kind: seconds / total for kind, seconds in spent.items()}}
    common.save(f"step-{given.preset}", record)
    rows = sorted(spent.items(), key=lambda row: -row[1])
    common.print_table(
        f"a step of {given.preset}: {n_bytes:,.0f} bytes, {1e3 * whole:.0f} ms ({1e3 * total:.0f} ms while profiled)",
        ["", "ms", "share"], [*((kind, f"{1e3 * seconds:.1f}", f"{seconds / total:.1%}") for kind, seconds in rows),
                              ("all its arithmetic at the ceiling", f"{1e3 * floor:.1f}", f"{floor / whole:.0%} of a step")])
    common.CONSOLE.print(f"flame chart: {chart}, for ui.perfetto.dev")
