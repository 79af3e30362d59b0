"""``stlm train``."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from stlm.cli.display import Display
from stlm.cli.runs import open_corpus, scoring_bar, take_option
from stlm.cli.usage import TRAIN_FLAGS
from stlm.config.decode import encode
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.evaluate.bits import score
from stlm.evaluate.callbacks import Benchmarks, Samples, Validation
from stlm.evaluate.compressors import baselines
from stlm.evaluate.surprise import read
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.report import patch_marks
from stlm.report.commands import next_steps
from stlm.report.run_page import write_report
from stlm.train.build import build_run
from stlm.train.cli_args import apply, configure
from stlm.train.folder import BITS, RUNS, RunFolder, write_whole
from stlm.train.loop import Trainer
from stlm.train.machine import check_fits, pick_device
from stlm.train.run_config import RunConfig
from stlm.train.trackers import build as build_trackers

FREE_ON_RESUME = ("train", "optim")  # fields that may change when a run continues

READ = 600  # bytes of held-out text for which the report shows patches and bits


def run(arguments: list[str]) -> int:
    console = Console(stderr=True)
    preset, flags = arguments[0], arguments[1:]
    name, flags = take_option(flags, "--name")
    resume, flags = "--resume" in flags, [flag for flag in flags if flag != "--resume"]
    program = f"stlm train {preset}"
    if "--help" in flags or "-h" in flags:
        configure(preset, flags, program, TRAIN_FLAGS)  # prints and exits
    folder = RunFolder(RUNS / _name(name, preset, resume))
    if resume and folder.exists:
        config = _changed_on_resume(folder, flags, program)
    elif folder.exists:
        raise UserError(f"{folder.path}: this run exists already; continue it with --resume, or choose another --name")
    else:
        config = configure(preset, flags, program, TRAIN_FLAGS)
    corpus, device = open_corpus(config, console), pick_device()
    check_fits(config.model, corpus.tokenizer, device)
    display = Display(console)
    with folder.locked():
        folder.create(config)
        console.print(f"{folder.path}: {corpus.name}, {corpus.train.n_bytes / 1e6:.1f} MB to train on, "
                      f"{corpus.validation.n_bytes / 1e3:.0f} kB held out", highlight=False, soft_wrap=True)
        callbacks = [Validation(), Benchmarks(config.train.tasks), Samples(display.sample), display,
                 *build_trackers(config, folder)]
        with _enough_memory():
            with console.status("measuring what is fast on this machine"):
                trainer = build_run(folder, config, corpus, device, callbacks, folder.latest() if resume else None)
            console.print(f"{count(trainer.model).unique:,} parameters", highlight=False, soft_wrap=True)
            try:
                with _stopping(trainer):
                    trainer.run()
            finally:
                display.close()
        if not trainer.done:
            again = shlex.join(["stlm", "train", preset, "--name", folder.name, "--resume"])
            console.print(f"stopped at step {trainer.step}, which is saved; continue with:  {again}", highlight=False,
                          markup=False, soft_wrap=True)
            return 130
        _finish(trainer, console, preset)
    return 0


def _name(name: str | None, preset: str, resume: bool) -> str:
    """The run's name: ``name``, or else the preset's name, with the next free number if that name is taken."""
    if name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UserError(f"--name {name!r}: use letters, digits, dots, dashes and underscores")
        return name
    stem = Path(preset).stem
    names = [stem, *(f"{stem}-{n}" for n in range(2, 10_000))]
    free = next(i for i, candidate in enumerate(names) if not RunFolder(RUNS / candidate).exists)
    return names[max(0, free - 1)] if resume else names[free]


def _changed_on_resume(folder: RunFolder, flags: list[str], program: str) -> RunConfig:
    """The run's own description, changed by flags. UserError if a field changes that the weights depend on."""
    before = folder.config()
    after = apply(before, flags, program, TRAIN_FLAGS)
    if before.optim.kind != after.optim.kind:
        raise UserError(f"--optim: this run uses {before.optim.kind}, and another optimizer can't continue it; start a new run "
                        "with another --name")
    for name, value in encode(before).items():
        if name not in FREE_ON_RESUME and encode(after)[name] != value:
            raise UserError(f"--{name}: it can't change in a run that continues, only "
                            f"{' and '.join(f'--{free}' for free in FREE_ON_RESUME)} can; "
                            "start a new run with another --name")
    return after


@contextlib.contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """A context in which Ctrl-C, or a scheduler's SIGTERM, ends the run after the present step. A second one ends it at once.
    """
    def request_stop(number: int, frame: object) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _enough_memory() -> Iterator[None]:
    """A context in which errors of missing memory become a UserError that says what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise UserError("a step needs more memory than there is; increase --train.grad-accum, "
                        "or decrease --train.batch-size or --train.seq-len") from None


def _finish(trainer: Trainer, console: Console, preset: str) -> None:
    """Score the whole validation text, compare with compressors, write the report, and print the next commands."""
    folder, corpus, train, model = trainer.folder, trainer.corpus, trainer.config.train, trainer.usable_model()
    bar, advance = scoring_bar(console, "scoring the held-out text")
    with bar:
        result = score(model, corpus.validation, corpus.tokenizer, train.seq_len, train.batch_size,
                       context=train.seq_len // 2, progress=advance)
    text = b"".join(corpus.validation.documents(corpus.tokenizer))
    entropy = None if corpus.entropy_bits is None else corpus.entropy_bits / corpus.validation.n_bytes
    record = {
        BITS: result.bits_per_byte, "protocol": result.protocol, "baselines": baselines(text), "entropy": entropy,
        "seconds": trainer.counters.spent, "trained_bytes": trainer.counters.n_bytes, "prompt": _beginning(text),
        "steps": trainer.step, "parameters": encode(count(trainer.model)), "text": corpus.name,
        "bytes_per_patch": result.bytes_per_patch, "flops": trainer.counters.flops,
        "peak_megabytes": trainer.peak / 1e6, "reading": _reading(model, corpus),
    }
    write_whole(folder.path / "results.json", json.dumps(record, indent=1))
    write_report(folder)
    console.print(_summary(record))
    if entropy is not None:
        console.print(f"The model is {result.bits_per_byte - entropy:.3f} bits per byte "
                      f"({result.bits_per_byte / entropy - 1:.0%}) above the exact entropy of this text, "
                      "the lower limit for every model.", highlight=False, soft_wrap=True)
    steps = "\n         ".join(next_steps(folder, trainer.config, record["prompt"], preset))
    console.print(f"\nreport:  {folder.report}\nnext:    {steps}", highlight=False, markup=False, soft_wrap=True)


def _reading(model: LM, corpus: Corpus) -> list[list[Any]]:
    """Bits and patches of the first held-out documents, for the report."""
    found, left = [], READ
    for document in corpus.validation.documents(corpus.tokenizer):
        if left <= 0:
            break
        reading = read(model, corpus.tokenizer, document[:left])
        found += patch_marks.record(reading.pieces, reading.bits, reading.ends)
        left -= len(document)
    return found


def _beginning(text: bytes) -> str:
    """The first words of a text, as a prompt to try: what a terminal can show and a person would type."""
    shown = "".join(c if c.isprintable() else " " for c in text[:200].decode("utf-8", errors="ignore"))
    return " ".join(shown.split()[:3]).lstrip("- ") or "The"


def _summary(record: dict) -> Table:
    table = Table(title=f"bits per byte on {record['protocol']['bytes']:,} held-out bytes, smaller is better")
    table.add_column("")
    table.add_column("bits per byte", justify="right")
    rows = {**record["baselines"], "this model": record[BITS]}
    if record["entropy"] is not None:
        rows["exact entropy of the text"] = record["entropy"]
    for name, value in sorted(rows.items(), key=lambda row: -row[1]):
        table.add_row(name, f"{value:.3f}", style="bold" if name == "this model" else None)
    return table
