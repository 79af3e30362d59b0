"""``stlm eval``."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from stlm.cli.console import Console
from stlm.cli.device import take_device
from stlm.cli.outputs import FORCE, check_scores
from stlm.cli.parser import Parser
from stlm.cli.runs import open_corpus, page_line, scoring_bar
from stlm.cli.score_tables import common, draw
from stlm.config.bounds import Count, Layers, Seed
from stlm.config.writing import check_folder
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
from stlm.train.device import check_device, placed
from stlm.train.folder import RUNS, find_checkpoint

HUGGING_FACE = "hf:"


def run(arguments: list[str]) -> int:
    wanted, arguments = take_device(arguments)
    parser = Parser("eval")
    parser.text("run")
    parser.text("--tasks")
    parser.path("--data")
    parser.text("--text")
    parser.text("--field", "--data.field", dest="field")
    parser.number("--limit", Count)
    parser.number("--seed", Seed, 0)
    parser.number("--layer", Layers)
    parser.text("--judge")
    parser.path("--output")
    parser.add_argument(FORCE, action="store_true")
    given = parser.parse_args(arguments)
    tasks = choose(given.tasks or ("bits" if given.text else "paper"))
    _check_options(given, tasks)
    check_device(wanted)
    console, checkpoint = Console(), _checkpoint(given.run)
    # read only once, and only if a task needs it
    texts = Texts(given.text, functools.cache(lambda: _own_text(checkpoint, console)) if checkpoint else None,
                  given.field or "text")
    if given.text and (about := texts.given.about(scoring=True)):
        console.say(f"{texts.given.name}: {about}")
    scorer = open_scorer(given.run, checkpoint, wanted)
    judge = open_scorer(given.judge, _checkpoint(given.judge), wanted) if given.judge else None
    folder = given.output or _folder(given.run, checkpoint)
    check_folder(folder)
    if given.output:
        check_scores(given.output, scorer.fingerprint, given.force)
    cost = None if checkpoint is None else results.training_cost(checkpoint)
    found, asked = results.open_scores(folder, scorer, cost), results.no_scores(scorer, cost)
    if not (folder / results.FILE).exists():
        results.save(folder, found)  # from now on it says whose scores these are
    elif not found["results"]:
        console.say(f"{folder / results.FILE}: its scores are of other weights or another version, or were changed by hand; "
                    "they are replaced")
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
    page = page_line(lambda: write_page(folder, found))
    console.say(f"results: {folder / results.FILE}\n{page}")
    return 0


def _check_options(given: argparse.Namespace, tasks: list[TaskConfig]) -> None:
    """Raise UserError for options that no task uses, so that no option is ignored silently."""
    for option in ("data", "text", "layer", "judge"):
        if getattr(given, option) is not None and not any(option in task.options for task in tasks):
            raise UserError(f"--{option}: no task here takes it, of {', '.join(task.kind for task in tasks)}")
    if given.field and not given.text:
        raise UserError("--field: it names the field of a given text; give --text too")


def open_scorer(name: str, checkpoint: Checkpoint | None, wanted: str) -> Scorer:
    """The scorer of a run, or of ``hf:NAME``, which has no checkpoint. wanted: its device."""
    if checkpoint is None:
        return HuggingFaceScorer.load(name.removeprefix(HUGGING_FACE), wanted)
    model = placed(checkpoint.build_model(), checkpoint.tokenizer, wanted)
    return NativeScorer(name, model, checkpoint.tokenizer, checkpoint.config.train.seq_len)


def _checkpoint(name: str) -> Checkpoint | None:
    return None if name.startswith(HUGGING_FACE) else find_checkpoint(name)


def _own_text(checkpoint: Checkpoint, console: Console) -> Corpus:
    """The training text of a run. A published model has only the names of its texts, not their paths."""
    try:
        return open_corpus(checkpoint.config, console, start=checkpoint)
    except UserError as error:
        raise UserError(f"the text this model was trained on can't be opened ({error}); give another with --text") from None


def _folder(name: str, checkpoint: Checkpoint | None) -> Path:
    """The folder of the scores: inside the run's folder, or a folder of its own."""
    if checkpoint is None:
        return RUNS / name.replace(":", "-").replace("/", "-").strip("-.") / "eval"
    folder = checkpoint.folder
    run = folder.parent.parent if folder.parent.name in ("checkpoints", "best") else RUNS / folder.name
    return run / "eval"
