"""``stlm train``."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from stlm.cli.busy import BusyMachine
from stlm.cli.console import Console
from stlm.cli.device import take_device
from stlm.cli.display import Display
from stlm.cli.parser import first_name
from stlm.cli.processes import launched
from stlm.cli.runs import described, open_corpus, page_line, scoring_bar
from stlm.cli.usage import TRAIN_FLAGS
from stlm.config.decode import changed, encode
from stlm.config.spread import PROCESSES, take_fsdp
from stlm.config.words import command, take_option
from stlm.config.writing import check_folder, write_json
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.evaluate.callbacks import Benchmarks, Samples
from stlm.evaluate.compressors import baselines
from stlm.evaluate.final import final
from stlm.evaluate.surprise import read
from stlm.evaluate.validation import Validation
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.report import patch_marks
from stlm.report.commands import next_steps
from stlm.report.run_page import write_report
from stlm.train.apple_training import why_not_train
from stlm.train.build import build_run
from stlm.train.checkpoint import Checkpoint, list_checkpoints
from stlm.train.cli_args import apply, configure, is_trained
from stlm.train.device import pick_device
from stlm.train.folder import BITS, RUNS, RunFolder, find_checkpoint
from stlm.train.guard import Guarded
from stlm.train.loop import Callback, Trainer
from stlm.train.machine import check_fits
from stlm.train.processes import open_ranks
from stlm.train.ranks import LostProcess, Ranks
from stlm.train.rates import known_rate
from stlm.train.resuming import check_changes, finished, longer, refuse_without_effect
from stlm.train.run_config import RunConfig
from stlm.train.start import Start
from stlm.train.text import open_text
from stlm.train.trackers import build as build_trackers

TOGETHER = 1.0  # seconds within which two signals are one request
TUNED = "-tuned"  # ends the name of a run that goes on from a model, so that it doesn't hide that model
READ = 600  # bytes of held-out text for which the report shows patches and bits


def run(arguments: list[str]) -> int:
    console = Console()
    wanted, arguments = take_device(arguments)
    preset, flags = first_name("train", arguments)
    name, flags = take_option(flags, "--name")
    sharded, flags = take_fsdp(flags)
    resume, flags = "--resume" in flags, [flag for flag in flags if flag != "--resume"]
    program = f"stlm train {preset}"
    if "--help" in flags or "-h" in flags:
        configure(preset, flags, program, TRAIN_FLAGS)  # prints and exits
    ranks, folder = open_ranks(), None
    try:
        with ranks.explained():
            folder, saved = RunFolder(RUNS / ranks.from_main(lambda: _name(name, preset, resume))), None
            if resume and folder.exists:
                saved, config = folder.latest(), apply(folder.config(), flags, program, TRAIN_FLAGS)
                check_changes(folder, saved, config)
                config = known_rate(config, folder.config())
                if saved is not None and finished(folder, saved) and not changed(saved.config, config):
                    console.say(f"{folder.path}: finished already, at step {saved.counters['step']:,}; {longer(saved)}")
                    ranks.close()
                    return 0
            else:
                _refuse_existing(folder)
                config = configure(preset, flags, program, TRAIN_FLAGS)
            return _train(folder, config, preset, saved, console, ranks, wanted, sharded)
    except LostProcess as error:
        if folder is None:
            raise
        raise LostProcess(f"{error}; {_saved(folder)}; continue with:  {_again(preset, folder)}") from None


def _train(folder: RunFolder, config: RunConfig, preset: str, saved: Checkpoint | None, console: Console, ranks: Ranks,
           wanted: str, sharded: str) -> int:
    """Train a run from its first step, or from ``saved``. wanted: the device. Returns the exit status. Only the main process
    writes.
    """
    device = ranks.device(pick_device(wanted, functools.partial(why_not_train, config, ranks.size)))
    with ranks.main_first(), _told_where(saved is not None):  # texts from the hub are fetched once
        source = open_text(config)
    corpus_of_run, display = functools.cache(lambda: open_corpus(config, console, source, saved)), Display(console)
    watching = _checked(folder, config, corpus_of_run, display, ranks) if ranks.is_main else []
    with ranks.main_first(), _told_where(saved is not None):
        corpus = corpus_of_run()
    if saved is not None:
        refuse_without_effect(folder, saved, config, corpus)
    tokens = max(1, config.train.batch_size // config.train.grad_accum // ranks.size) * config.train.seq_len
    check_fits(config.model, corpus.tokenizer, device, tokens)
    continues = folder.exists
    with folder.locked() if ranks.is_main else contextlib.nullcontext():
        if not continues:
            _refuse_existing(folder)  # again, because another process may have trained it meanwhile
        console.say(f"{folder.path}: {described(source, corpus)}")
        with contextlib.ExitStack() as during:
            during.enter_context(_enough_memory())
            start = [during.enter_context(Start(folder))] if ranks.is_main else []
            with console.status("measuring what is fast on this machine"):
                trainer = build_run(folder, config, corpus, device, [*watching, *start], folder.latest() if continues else None,
                                    ranks, sharded)
            console.say(f"{count(trainer.model).unique:,} parameters{_spread(trainer)}")
            try:
                with _stopping(trainer):
                    trainer.run()
            finally:
                display.close()
        ranks.close()
        if not ranks.is_main:
            return 0
        if not trainer.done:
            console.say(f"stopped at step {trainer.step}, which is saved; continue with:  {_again(preset, folder)}")
            return 130
        if trainer.over and trainer.progress() < 1:
            n = trainer.config.train.stop_after
            console.say(f"ended early at step {trainer.step:,}: the last {n} evaluation{'s' * (n > 1)} brought no new best")
        _finish(trainer, console, preset)
    return 0


def _again(preset: str, folder: RunFolder) -> str:
    """The command that goes on with a run."""
    n = launched()
    return command("train", preset, "--name", folder.name, "--resume", *([] if n is None else [PROCESSES, str(n)]))


def _saved(folder: RunFolder) -> str:
    saved = list_checkpoints(folder.checkpoints)
    return f"{saved[-1].name} is saved" if saved else "nothing was saved yet"


def _spread(trainer: Trainer) -> str:
    """How a run is spread over its processes, as part of a line."""
    if trainer.ranks.size == 1:
        return ""
    how = "each has all weights (DDP)" if trainer.parallel.keeps_all else "each has a part of the weights (FSDP2)"
    return f", trained by {trainer.ranks.size} processes; {how}"


def _refuse_existing(folder: RunFolder) -> None:
    if folder.exists:
        raise UserError(f"{folder.path}: this run exists already; continue it with --resume, or choose another --name")


def _checked(folder: RunFolder, config: RunConfig, corpus: Callable[[], Corpus], display: Display, ranks: Ranks
             ) -> list[Callback]:
    """What watches the run. Everything that may be missing later is looked for now, before the text is read."""
    check_folder(folder.path)
    if config.train.init_from is not None and not folder.exists:
        find_checkpoint(config.train.init_from)
    say = display.console.say
    return [Validation(say), Guarded(Benchmarks(config.train, corpus), "scoring of --train.tasks", say),
            Samples(display.sample), display, *([BusyMachine(say)] if ranks.size == 1 else []),
            *build_trackers(config, folder, say)]


def _name(name: str | None, preset: str, resume: bool) -> str:
    """The run's name: ``name``, or else the name of the preset or model, with the next free number if that name is taken."""
    if name is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise UserError(f"--name {name!r}: use letters, digits, dots, dashes and underscores, and at most 100 of them")
        return name
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(preset).stem)[:90].strip("._-") or "run"
    stem += TUNED if is_trained(preset) else ""
    names = [stem, *(f"{stem}-{n}" for n in range(2, 10_000))]
    free = next(i for i, candidate in enumerate(names) if not RunFolder(RUNS / candidate).exists)
    return names[max(0, free - 1)] if resume else names[free]


@contextlib.contextmanager
def _told_where(resumed: bool) -> Iterator[None]:
    """A context that opens the text of a run. If the run continues, its text may lie elsewhere by now."""
    try:
        yield
    except UserError as error:
        raise error if not resumed else UserError(f"{error}; if the text of this run lies elsewhere now, say where with "
                                                  "--data") from None


@contextlib.contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """A context in which Ctrl-C, or a scheduler's SIGTERM, ends the run after the present step. A second one ends it at once,
    unless it comes with the first: torchrun sends SIGTERM after a Ctrl-C that we have had already.
    """
    asked = math.inf

    def request_stop(number: int, frame: object) -> None:
        nonlocal asked
        if time.monotonic() > asked + TOGETHER:
            raise KeyboardInterrupt
        asked, trainer.stop = min(asked, time.monotonic()), True

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
        said = any(words in str(error) for words in ("allocate memory", "MPS backend out of memory"))
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not said:
            raise
        raise UserError("a step needs more memory than there is; increase --train.grad-accum, "
                        "or decrease --train.batch-size or --train.seq-len") from None


def _finish(trainer: Trainer, console: Console, preset: str) -> None:
    """Score the whole validation text, compare with compressors, write the report, and print the next commands."""
    folder, corpus = trainer.folder, trainer.corpus
    bar, advance = scoring_bar(console, "scoring the held-out text")
    with bar:
        chosen = final(trainer, advance)
    result = chosen.score
    text = b"".join(corpus.validation.documents(corpus.tokenizer))
    entropy = None if corpus.entropy_bits is None else corpus.entropy_bits / corpus.validation.n_bytes
    record = {
        BITS: result.bits_per_byte, "protocol": result.protocol, "baselines": baselines(text), "entropy": entropy,
        "seconds": trainer.counters.spent, "trained_bytes": trainer.counters.n_bytes, "prompt": _beginning(text),
        "steps": trainer.step, "parameters": encode(count(trainer.model)), "text": corpus.name,
        "bytes_per_patch": result.bytes_per_patch, "flops": trainer.counters.flops,
        "peak_megabytes": trainer.peak / 1e6, "reading": _reading(chosen.model, corpus),
        "weights_of_step": chosen.step, "last_weights": chosen.last.bits_per_byte,
    }
    write_json(folder.results, record)
    page = page_line(lambda: write_report(folder))
    console.print(_summary(record))
    if chosen.said:
        console.say(chosen.said)
    if entropy is not None:
        console.say(f"The model is {result.bits_per_byte - entropy:.3f} bits per byte "
                    f"({result.bits_per_byte / entropy - 1:.0%}) above the exact entropy of this text, "
                    "the lower limit for every model.")
    steps = "\n         ".join(next_steps(folder, trainer.config, record["prompt"], preset))
    console.say(f"\n{page}\nnext:    {steps}")


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
