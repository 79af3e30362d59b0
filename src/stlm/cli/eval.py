"""``stlm eval``."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from rich.console import Console

from stlm.cli.runs import Parser, open_corpus, scoring_bar
from stlm.cli.score_tables import common, draw
from stlm.data.shards import Corpus
from stlm.errors import UserError
from stlm.evaluate import anchors, results
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.huggingface import HuggingFaceScorer
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.task import TaskConfig, choose
from stlm.evaluate.texts import Texts
from stlm.report.scores_page import write_page
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, find_checkpoint
from stlm.train.machine import pick_device

HUGGING_FACE = "hf:"


def run(arguments: list[str]) -> int:
    parser = Parser("eval")
    parser.add_argument("run")
    parser.add_argument("--tasks")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--text")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layer", type=int)
    parser.add_argument("--judge")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    if given.limit is not None and given.limit < 1:
        raise UserError(f"--limit {given.limit}: it has to be 1 or more")
    tasks = choose(given.tasks or ("bits" if given.text else "paper"))
    _check_options(given, tasks)
    console, checkpoint = Console(stderr=True), _checkpoint(given.run)
    scorer = open_scorer(given.run, checkpoint)
    judge = open_scorer(given.judge, _checkpoint(given.judge)) if given.judge else None
    folder = given.output or _folder(given.run, checkpoint)
    cost = None if checkpoint is None else results.training_cost(checkpoint)
    found, asked = results.open_scores(folder, scorer, cost), results.no_scores(scorer, cost)
    if not found["results"] and (folder / results.FILE).exists():
        console.print(f"{folder / results.FILE}: its scores are of other weights or another version, or were changed by hand; "
                      "they are replaced", highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    # read only once, and only if a task needs it
    texts = Texts(given.text, functools.cache(lambda: _own_text(checkpoint, console)) if checkpoint else None)
    for task in tasks:
        bar, advance = scoring_bar(console, task.kind)
        kept = folder / f"samples_{task.kind}{f'_{given.limit}' if given.limit else ''}.jsonl"
        context = Evaluation(folder=given.data, limit=given.limit, seed=given.seed, texts=texts, scorer=scorer, judge=judge,
                             layer=given.layer, kept=kept, progress=advance)
        with bar:
            figures, seconds = results.timed(functools.partial(task.run, context))
        found = results.open_scores(folder, scorer, cost)  # again, because another evaluation may have added scores
        seconds = figures.pop("seconds", seconds)
        for scores in (asked, found):
            results.add(scores, task, figures, seconds, context)
        results.save(folder, found)
    console.print(common(asked, [task.kind for task in tasks]))
    for grid in [grid for task in tasks for grid in task.tables(asked)]:
        console.print(draw(grid))
    if any(task.kind in anchors.TASKS for task in tasks):
        console.print(draw(anchors.beside(asked)))
    console.print(f"results: {folder / results.FILE}\nreport:  {write_page(folder, found)}", highlight=False, soft_wrap=True)
    return 0


def _check_options(given: argparse.Namespace, tasks: list[TaskConfig]) -> None:
    """Raise UserError for options that no task uses, so that no option is ignored silently."""
    for option in ("data", "text", "layer", "judge"):
        if getattr(given, option) is not None and not any(option in task.options for task in tasks):
            raise UserError(f"--{option}: no task here takes it, of {', '.join(task.kind for task in tasks)}")


def open_scorer(name: str, checkpoint: Checkpoint | None) -> Scorer:
    """The scorer of a run, or of ``hf:NAME``, which has no checkpoint."""
    if checkpoint is None:
        return HuggingFaceScorer.load(name.removeprefix(HUGGING_FACE))
    return NativeScorer.of(name, checkpoint, pick_device())


def _checkpoint(name: str) -> Checkpoint | None:
    return None if name.startswith(HUGGING_FACE) else find_checkpoint(name)


def _own_text(checkpoint: Checkpoint, console: Console) -> Corpus:
    """The training text of a run. A published model has only the names of its texts, not their paths."""
    try:
        return open_corpus(checkpoint.config, console)
    except UserError as error:
        raise UserError(f"the text this model was trained on can't be opened ({error}); give another with --text") from None


def _folder(name: str, checkpoint: Checkpoint | None) -> Path:
    """The folder of the scores: inside the run's folder, or a folder of its own."""
    if checkpoint is None:
        return RUNS / name.replace(":", "-").replace("/", "-").strip("-.") / "eval"
    folder = checkpoint.folder
    run = folder.parent.parent if folder.parent.name == "checkpoints" else RUNS / folder.name
    return run / "eval"
