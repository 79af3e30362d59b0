"""``stlm eval``."""

from __future__ import annotations

import argparse
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stlm.cli.runs import Parser, open_corpus, scoring_bar
from stlm.data.readers import documents_of, readable_files
from stlm.data.shards import Corpus
from stlm.data.sources import open_source
from stlm.errors import UserError
from stlm.evaluate import benchmark, probes, progression, quality, scores
from stlm.evaluate.anchors import ANCHORS
from stlm.evaluate.huggingface import HuggingFaceScorer
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.tasks import PAPER, TASKS, Made, Task, choose_names
from stlm.report.scores import write_page
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, find_checkpoint
from stlm.train.machine import pick_device

HUGGING_FACE = "hf:"
OF_TEXT = ("bits", "progression", "writing")
GROUPS = {"paper": list(PAPER), "glue": [probe.name for probe in probes.PROBES]}
NAMES = [*TASKS, *GROUPS["glue"], *OF_TEXT]
KNOWN = 4000  # documents that grammaticality is judged by
FEW = 200  # documents that are read where no text is given


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
    names = choose_names(given.tasks or ("bits" if given.text else "paper"), NAMES, GROUPS)
    console, checkpoint = Console(stderr=True), _checkpoint(given.run)
    scorer = open_scorer(given.run, checkpoint)
    judge = open_scorer(given.judge, _checkpoint(given.judge)) if given.judge and "writing" in names else None
    folder = given.output or _folder(given.run, checkpoint)
    found = scores.open_scores(folder, scorer)
    folder.mkdir(parents=True, exist_ok=True)
    # read once, and only where a task wants it
    corpus = functools.cache(lambda: open_corpus(checkpoint.config, console)) if checkpoint else None
    held_out = functools.cache(lambda: texts(given, corpus))
    for name in names:
        bar, advance = scoring_bar(console, name)
        with bar:
            figures, seconds = scores.timed(lambda name=name, advance=advance: _figures(  # type: ignore[misc]
                name, given, scorer, judge, folder, held_out, corpus, advance))
        scores.add(found, name, figures, seconds, getattr(TASKS.get(name), "shots", 0))
        scores.save(folder, found)
    console.print(table(found, [name for name in names if name != "writing"]))
    if "writing" in names:
        console.print(writing_table(found))
    if "blimp" in names:
        console.print(parts_table(found, "blimp"))
    if any(name in PAPER for name in names):
        console.print(beside(found))
    console.print(f"results: {folder / scores.FILE}\nreport:  {write_page(folder, found)}", highlight=False, soft_wrap=True)
    return 0


def open_scorer(name: str, checkpoint: Checkpoint | None) -> Scorer:
    """A run of ours, or ``hf:NAME``, which has no checkpoint."""
    if checkpoint is None:
        return HuggingFaceScorer.load(name.removeprefix(HUGGING_FACE))
    return NativeScorer.of(name, checkpoint, pick_device())


def _checkpoint(name: str) -> Checkpoint | None:
    return None if name.startswith(HUGGING_FACE) else find_checkpoint(name)


def _folder(name: str, checkpoint: Checkpoint | None) -> Path:
    """Where scores lie: with the run, or in a folder of their own."""
    if checkpoint is None:
        return RUNS / name.replace(":", "-").replace("/", "-").strip("-.") / "eval"
    folder = checkpoint.folder
    run = folder.parent.parent if folder.parent.name == "checkpoints" else RUNS / folder.name
    return run / "eval"


def _figures(name: str, given: argparse.Namespace, scorer: Scorer, judge: Scorer | None, folder: Path,
             held_out: Callable[[], tuple[list[bytes], str]], corpus: Callable[[], Corpus] | None,
             advance: Callable[[float], None]) -> dict[str, Any]:
    kept = folder / f"samples_{name}.jsonl"
    if name in TASKS:
        return benchmark.run(scorer, TASKS[name], given.data, given.limit, given.seed, kept, advance)
    probe = next((probe for probe in probes.PROBES if probe.name == name), None)
    if probe is not None:
        return probes.run(scorer, probe, given.data, given.layer, given.seed, advance)
    documents, source = held_out()
    if name == "progression":
        made = progression.items(documents, given.seed)
        if not made:
            raise UserError(f"{source}: no document is long enough for the progression test")
        task: Task = Made("progression", "progression", len(made), ("acc_bytes",), source, lambda: made)
        return benchmark.run(scorer, task, None, given.limit, given.seed, kept, advance)
    if name == "writing":
        known = itertools.islice(_known(given, corpus), KNOWN)
        parts = quality.run(scorer, documents, known, judge, given.seed, advance)
        return {"alias": "writing", "n": min(len(documents), quality.MOST), "source": source, "groups": parts}
    return _bits(scorer, documents, source, advance)


def _bits(scorer: Scorer, documents: list[bytes], source: str, advance: Callable[[float], None]) -> dict[str, Any]:
    done, n_bytes = 0, sum(map(len, documents))
    if not n_bytes:
        raise UserError(f"{source}: there is no text in it")

    def more(n: int) -> None:
        nonlocal done
        done += n
        advance(done / len(documents))

    nats = -math.fsum(scorer.log_p_of_documents(documents, more))
    return {"alias": "bits per byte", "n": len(documents), "bits_per_byte,none": nats / math.log(2) / n_bytes, "bytes": n_bytes,
            "source": source, "how": f"each document by itself, windows of {scorer.limit} symbols that overlap by half"}


def texts(given: argparse.Namespace, corpus: Callable[[], Corpus] | None) -> tuple[list[bytes], str]:
    """Held-out documents: of ``--text``; else of the run's own text; else of the built-in corpus."""
    if given.text:
        path = Path(given.text)
        if path.exists():
            files = readable_files(path) if path.is_dir() else [path]
            found = [document for file in files for document in documents_of(file, "text")]
        else:
            found = list(open_source(given.text, field="text", seed=0, megabytes=1.0).documents("validation"))
        return found[:given.limit], given.text
    if corpus is not None:
        own = corpus()
        return list(own.validation.documents(own.codec))[:given.limit or FEW], f"held out of {own.name}"
    source = open_source("world", field="text", seed=0, megabytes=1.0)
    return list(source.documents("validation"))[:given.limit or FEW], source.name


def _known(given: argparse.Namespace, corpus: Callable[[], Corpus] | None) -> Iterable[bytes]:
    """Text that grammaticality is judged by."""
    if corpus is None:
        return open_source(given.text or "world", field="text", seed=0, megabytes=4.0).documents("train")
    return corpus().train.documents(corpus().codec)


# --- tables

def table(found: dict[str, Any], names: list[str]) -> Table:
    """The tasks of this call."""
    out = Table(title=f"{found['model_name']}, {found['parameters']:,} parameters", box=SIMPLE_HEAD)
    for column in ("task", "metric", "score", "chance", "n", "ties"):
        out.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for name in names:
        row = found["results"][name]
        n = f"{row['n']:,}" + (f" of {row['published']:,}" if row["n"] < row.get("published", row["n"]) else "")
        metrics = [key.partition(",")[0] for key in row if key.endswith(",none") and scores.STDERR not in key]
        for place, metric in enumerate(metrics):
            share = metric.startswith("acc")
            shown = [f"{value:.1%}" if share else f"{value:.3f}" for value in
                     (row[f"{metric},none"], row.get(f"{metric}{scores.STDERR},none")) if value is not None]
            rest = ["", "", ""] if place else [f"{row['chance']:.0%}" if share else "", n, str(row.get("ties", ""))]
            out.add_row("" if place else row["alias"], metric, " ± ".join(shown), *rest)
    return out


def writing_table(found: dict[str, Any]) -> Table:
    """Figures of what was written, beside those of what people wrote."""
    parts = {name: found["results"][f"writing_{name}"] for name in ("written", "human")}
    out = Table(title="writing", box=SIMPLE_HEAD)
    for column in ("", *parts):
        out.add_column(column, justify="right" if column else "left", no_wrap=True)
    for key in parts["written"]:
        if key != "alias":
            out.add_row(key, *(f"{row[key]:.3f}" for row in parts.values()))
    return out


def parts_table(found: dict[str, Any], task: str) -> Table:
    """A task by its groups, fields and phenomena first."""
    out = Table(title=f"{found['results'][task]['alias']} by field and phenomenon", box=SIMPLE_HEAD)
    for column in ("", "acc", "n"):
        out.add_column(column, justify="left" if not column else "right")
    parts = [found["results"][name] for name in found["group_subtasks"][task]]
    for row in sorted(parts, key=lambda row: row["alias"]):
        if row["alias"].startswith((" - field", " - phenomenon")):
            out.add_row(row["alias"].removeprefix(" - "), f"{row['acc,none']:.1%}", f"{row['n']:,}")
    return out


def beside(found: dict[str, Any]) -> Table:
    """The paper's five benchmarks beside what others reached."""
    out = Table(title="beside others (per cent; N: acc_norm)", box=SIMPLE_HEAD)
    for column in ("model", "size", *(TASKS[name].title for name in PAPER)):
        out.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    own = [f"{100 * found['results'][name][TASKS[name].metrics[0] + ',none']:.1f}" if name in found["results"] else ""
           for name in PAPER]
    rows = [(anchor.parameters, anchor.name, [anchor.scores.get(name, "") for name in PAPER]) for anchor in ANCHORS]
    rows.append((found["parameters"] / 1e6, found["model_name"], own))
    for size, name, cells in sorted(rows):
        out.add_row(name, f"{size:.3g}M", *cells, style="bold" if name == found["model_name"] else None)
    return out
