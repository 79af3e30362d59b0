"""One measurement on this machine, in a process of its own.

    python recipes/leasing/measure.py look RECORD PRESET [flags]
    python recipes/leasing/measure.py speed RECORD PRESET [flags]

look: prepares the text, and writes what there is: the device, and the ways to compile. speed: waits for a line on standard
input, so that everything is imported when its turn comes; then it times steps, and looks where their time goes.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
import tempfile
import time
import typing
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from stlm.cli.console import Console
from stlm.cli.runs import open_corpus
from stlm.config.decode import encode, field_types
from stlm.config.writing import write_json
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.model.count import count
from stlm.train import machine
from stlm.train.build import build_run
from stlm.train.cli_args import configure
from stlm.train.device import pick_device
from stlm.train.folder import RunFolder
from stlm.train.loop import Trainer
from stlm.train.run_config import RunConfig, TrainConfig

TIMED = 4.0  # seconds of timed steps
WARM = 3  # steps before them
PROFILED = 3  # steps that are profiled
TOP = 25  # operations that are listed


def look(config: RunConfig) -> dict[str, Any]:
    """What there is on this machine. The text is in the cache afterwards."""
    device, corpus = pick_device(), open_corpus(config, Console())
    found = {**machine.describe(device), "train_bytes": corpus.train.n_bytes, "held_out_bytes": corpus.validation.n_bytes,
             "cuda": device.type == "cuda",
             "ways": [way for way in typing.get_args(field_types(TrainConfig)["compile"]) if way != "auto"]}
    if device.type == "cuda":
        found["gpu_gigabytes"] = torch.cuda.get_device_properties(device).total_memory / 1e9
    return found


def speed(config: RunConfig, record: Path, imports: float) -> None:
    """Time steps and write the figures, then add a profile of them. Where a step doesn't fit into memory, it is made in parts.

    imports: seconds that imports took. ``ready_seconds`` says how long a run takes from its start to its first steps.
    """
    started = time.perf_counter()
    device = pick_device()
    corpus = open_corpus(config, Console())
    with tempfile.TemporaryDirectory() as scratch:
        trainer = _fitting(Path(scratch), config, corpus, device)
        ready = imports + time.perf_counter() - started
        figures = {**_timed(trainer, device), "ready_seconds": ready}
        write_json(record, figures)
        figures["profile"] = _profile(trainer, device, figures["milliseconds"])
        write_json(record, figures)
        figures["profile"]["waits"] = _waits(trainer, device)
        write_json(record, figures)


def _fitting(scratch: Path, config: RunConfig, corpus: Corpus, device: torch.device) -> Trainer:
    """A run that has gone through its first steps, with the fewest parts of a step that fit into memory."""
    parts = config.train.grad_accum
    while True:
        train = dataclasses.replace(config.train, grad_accum=parts)
        try:
            trainer = build_run(RunFolder(scratch / str(parts)), dataclasses.replace(config, train=train), corpus, device, [])
            for _ in range(WARM):
                trainer.advance()
            machine.synchronize(device)
            return trainer
        except torch.OutOfMemoryError:
            if config.train.batch_size % (2 * parts):
                raise UserError("not even the smallest part of a step fits into memory; lower --train.batch-size") from None
            parts *= 2
        trainer = None  # its memory is free for the next try
        torch.cuda.empty_cache()


def _timed(trainer: Trainer, device: torch.device) -> dict[str, Any]:
    train, counters, decided = trainer.config.train, trainer.counters, trainer.decisions
    machine.forget_peak_memory(device)  # what precision is faster was tried in both
    before, steps, start = counters.n_bytes, 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < TIMED:
        trainer.advance()
        steps += 1
    machine.synchronize(device)
    took = time.perf_counter() - start
    rate = (counters.n_bytes - before) / took
    return {"parameters": count(trainer.model).unique, "seq_len": train.seq_len, "batch_size": train.batch_size,
            "grad_accum": train.grad_accum, "decided": encode(decided), "steps": steps, "milliseconds": 1e3 * took / steps,
            "bytes_per_second": rate, "mfu": rate * decided.flops_per_byte / decided.peak_flops,
            "peak_gigabytes": machine.peak_memory(device) / 1e9}


def _profile(trainer: Trainer, device: torch.device, milliseconds: float) -> dict[str, Any]:
    """Where the time of a step goes: operations by their time on the device, and how many kernels a step launches. busy: the
    share of a step, as timed without the profiler, in which the device computes.
    """
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as watched:
        for _ in range(PROFILED):
            trainer.advance()
        machine.synchronize(device)
    spent = collections.Counter[str]()
    calls = collections.Counter[str]()
    kernels = 0
    for event in watched.key_averages():  # without the marks of whole passes, which hold other events
        marked = getattr(event, "is_user_annotation", False)
        if on_gpu == (event.device_type == torch.autograd.DeviceType.CUDA) and not marked:
            time_of_it = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            spent[event.key] += time_of_it / 1e3 / PROFILED
            calls[event.key] += event.count / PROFILED
            kernels += event.count if on_gpu else 0
    total = sum(spent.values())
    top = [{"name": name, "milliseconds": round(ms, 4), "share": round(ms / total, 4), "calls": round(calls[name], 2)}
           for name, ms in spent.most_common(TOP)]
    return {"kernels": kernels / PROFILED, "device_milliseconds": total, "busy": total / milliseconds, "top": top}


def _waits(trainer: Trainer, device: torch.device) -> dict[str, float]:
    """How often a step makes the program wait for the GPU, by the line that does."""
    if device.type != "cuda":
        return {}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for _ in range(PROFILED):
                trainer.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = collections.Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in heard
                                if "synchroniz" in str(warning.message))
    return {place: times / PROFILED for place, times in found.most_common()}


def main(arguments: list[str]) -> int:
    imports = time.process_time()  # because it may wait for its turn later
    kind, record, preset, *flags = arguments
    try:
        config = configure(preset, flags, "stlm train")
        if kind == "look":
            write_json(Path(record), look(config))
        else:
            sys.stdin.readline()
            speed(config, Path(record), imports)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
