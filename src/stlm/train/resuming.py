"""What may change in a run that continues, and when there is nothing to continue."""

from __future__ import annotations

import math

from stlm.config.decode import changed
from stlm.config.files import read_table
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.optim import AUTO
from stlm.train.best import ended_early
from stlm.train.checkpoint import Checkpoint
from stlm.train.decisions import has_searched
from stlm.train.folder import RunFolder
from stlm.train.length import Counters, goal_of, progress_of
from stlm.train.run_config import LENGTHS, RunConfig

FREE = ("train.", "optim.", "data.source", "data.field", "data.megabytes")  # what is read is compared by its content
FIXED = {  # fields of these tables that may not change, and why
    "train.seq_len": "the text is cut into rows of this length",
    "train.init_from": "a run starts from other weights only at its first step",
    "optim.largest": "what SOAP knows of a matrix depends on whether it is larger than this",
}


def check_changes(folder: RunFolder, saved: Checkpoint | None, after: RunConfig) -> None:
    """UserError if the run can't continue with the description ``after``: a field has changed that the weights or the rows
    depend on, or one that can have no effect any more. saved: the checkpoint from which the run continues.
    """
    before = folder.config() if saved is None else saved.config
    if before.optim.kind != after.optim.kind:
        raise UserError(f"--optim: this run uses {before.optim.kind}, and another optimizer can't continue it; start a new run "
                        "with another --name")
    for path, values in changed(before, after).items():
        flag = f"--{path.replace('_', '-')}"
        if path in FIXED:
            raise UserError(f"{flag}: it can't change in a run that continues, because {FIXED[path]}; start a new run from the "
                            f"weights of this one with --train.init-from {folder.name}")
        if not path.startswith(FREE):
            raise UserError(f"{flag}: it can't change in a run that continues, only --train, --optim and the place of its text "
                            "can; start a new run with another --name")
        if path == "optim.lr" and AUTO in values and not has_searched(folder):
            raise UserError(f"{flag}: this run has the rate {before.optim.rate:g}, and auto has an effect only at the "
                            "start; leave it out")
        if path == "train.warmup" and saved is not None and saved.counters["step"] >= max(values):
            raise UserError(f"{flag}: this run is at step {saved.counters['step']:,}, so its warm-up is over and can't change")


def finished(folder: RunFolder, saved: Checkpoint) -> bool:
    """Whether the run is trained to its end and scored, and the checkpoint is its last."""
    step = saved.counters["step"]
    ended = saved.counters.get("progress", 0.0) >= 1 or ended_early(folder, saved.config, saved)
    return ended and folder.results.exists() and read_table(folder.results).get("steps") == step


def longer(saved: Checkpoint) -> str:
    """How to train a finished run for longer."""
    config = saved.config
    if saved.counters.get("progress", 0.0) < 1:
        return (f"it ended early (--train.stop-after {config.train.stop_after}); to train longer, give more, or 0, which never "
                "ends early")
    if 60 * (config.train.max_minutes or math.inf) <= saved.counters["spent"]:
        return f"to train longer, add --train.max-minutes with more than {config.train.max_minutes:g}, or none"
    name = next(name for name in LENGTHS if getattr(config.train, name) is not None)
    return f"to train longer, add --train.{name} with more than {getattr(config.train, name):g}"


def refuse_without_effect(folder: RunFolder, saved: Checkpoint, config: RunConfig, corpus: Corpus) -> None:
    """UserError if the run is finished, and by the changed description too, so that no step would be trained with it."""
    used = Counters.of(saved.counters, saved.config.train.batch_size)
    ends = (progress_of(config.train, used, goal_of(config.train, corpus.train, used.searched)) >= 1
            or ended_early(folder, config, saved))
    if finished(folder, saved) and ends:
        flags = ", ".join(f"--{path.replace('_', '-')}" for path in changed(saved.config, config))
        raise UserError(f"{folder.path}: finished already, at step {used.step:,}, so {flags} would change nothing; "
                        f"{longer(saved)}")
