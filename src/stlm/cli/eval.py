"""``stlm eval``."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stlm.cli.runs import Parser, open_corpus, scoring_bar
from stlm.config.files import read_json
from stlm.data.readers import documents_of, readable_files
from stlm.data.shards import Corpus
from stlm.data.sources import open_source, split_of, until
from stlm.errors import UserError
from stlm.evaluate import anchors, benchmark, probes, progression, quality, results
from stlm.evaluate.huggingface import HuggingFaceScorer
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.scorer import Scorer
from stlm.evaluate.tasks import PAPER, TASKS, GeneratedTask, Task, choose_names
from stlm.report.scores_page import write_page
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, find_checkpoint
from stlm.train.machine import pick_device

HUGGING_FACE = "hf:"
OF_TEXT = ("bits", "progression", "writing")
GROUPS = {"paper": list(PAPER), "glue": [probe.name for probe in probes.PROBES]}
NAMES = [*TASKS, *GROUPS["glue"], *OF_TEXT]
KNOWN = 8_000_000  # bytes of text that grammaticality is judged by
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
    found = results.open_scores(folder, scorer, None if checkpoint is None else cost(checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    # read once, and only where a task wants it
    corpus = functools.cache(lambda: _own_text(checkpoint, console)) if checkpoint else None
    held_out = functools.cache(lambda: texts(given, corpus))
    for name in names:
        bar, advance = scoring_bar(console, name)
        with bar:
            figures, seconds = results.timed(lambda name=name, advance=advance: _figures(  # type: ignore[misc]
                name, given, scorer, judge, folder, held_out, corpus, advance))
        if (kept := _answers(folder, name, given.limit)).exists():
            seconds = benchmark.seconds_of(kept)
        results.add(found, name, figures, seconds, getattr(TASKS.get(name), "shots", 0))
        results.save(folder, found)
    console.print(table(found, [name for name in names if name != "writing"]))
    if "writing" in names:
        console.print(writing_table(found))
    if "blimp" in names:
        console.print(parts_table(found, "blimp"))
    if any(name in PAPER for name in names):
        console.print(beside(found))
    console.print(f"results: {folder / results.FILE}\nreport:  {write_page(folder, found)}", highlight=False, soft_wrap=True)
    return 0


def open_scorer(name: str, checkpoint: Checkpoint | None) -> Scorer:
    """A run of ours, or ``hf:NAME``, which has no checkpoint."""
    if checkpoint is None:
        return HuggingFaceScorer.load(name.removeprefix(HUGGING_FACE))
    return NativeScorer.of(name, checkpoint, pick_device())


def _checkpoint(name: str) -> Checkpoint | None:
    return None if name.startswith(HUGGING_FACE) else find_checkpoint(name)


def _own_text(checkpoint: Checkpoint, console: Console) -> Corpus:
    """What a run was trained on; a model that was published knows the names of its texts, but not where they lie."""
    try:
        return open_corpus(checkpoint.config, console)
    except UserError as error:
        raise UserError(f"the text that this model was trained on is not at hand ({error}); name another with --text") from None


def _folder(name: str, checkpoint: Checkpoint | None) -> Path:
    """Where scores lie: with the run, or in a folder of their own."""
    if checkpoint is None:
        return RUNS / name.replace(":", "-").replace("/", "-").strip("-.") / "eval"
    folder = checkpoint.folder
    run = folder.parent.parent if folder.parent.name == "checkpoints" else RUNS / folder.name
    return run / "eval"


def _answers(folder: Path, name: str, limit: int | None) -> Path:
    """Where the answers of a task are kept as they come."""
    return folder / f"samples_{name}{f'_{limit}' if limit else ''}.jsonl"


def _figures(name: str, given: argparse.Namespace, scorer: Scorer, judge: Scorer | None, folder: Path,
             held_out: Callable[[], HeldOut], corpus: Callable[[], Corpus] | None,
             advance: Callable[[float], None]) -> dict[str, Any]:
    kept = _answers(folder, name, given.limit)
    if name in TASKS:
        return benchmark.run(scorer, TASKS[name], given.data, given.limit, given.seed, kept, advance)
    probe = next((probe for probe in probes.PROBES if probe.name == name), None)
    if probe is not None:
        return probes.run(scorer, probe, given.data, given.layer, given.seed, advance)
    held = held_out()
    if name == "progression":
        made = progression.items(held.documents, given.seed)
        if not made:
            raise UserError(f"{held.source}: no document is long enough for the progression test")
        task: Task = GeneratedTask("progression", "progression", len(made), ("acc_bytes",), held.source, lambda: made)
        return benchmark.run(scorer, task, None, given.limit, given.seed, kept, advance)
    if name == "writing":
        n, parts = quality.run(scorer, held.documents, _known(given, corpus), judge, given.seed, advance)
        if not n:
            raise UserError(f"{held.source}: no document is long enough to be gone on from; {quality.PROMPT + quality.LENGTH} "
                            "characters are needed")
        return {"alias": "writing", "n": n, "source": held.source, "groups": parts}
    return _bits(scorer, held, advance)


def cost(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a model's training took, for the record."""
    counters, env = checkpoint.counters, checkpoint.folder.parent.parent / "env.json"
    machine = read_json(env) if env.exists() else {}
    return {"steps": counters["step"], "seconds": counters["spent"], "bytes": counters["n_bytes"], "flops": counters["flops"],
            "text": checkpoint.config.data.names,
            **{name: machine[name] for name in ("cpu", "device", "threads", "torch") if name in machine}}


def _bits(scorer: Scorer, held: HeldOut, advance: Callable[[float], None]) -> dict[str, Any]:
    documents, done, n_bytes = held.documents, 0, sum(map(len, held.documents))
    if not n_bytes:
        raise UserError(f"{held.source}: there is no text in it")

    def more(n: int) -> None:
        nonlocal done
        done += n
        advance(done / len(documents))

    nats = -math.fsum(scorer.log_p_of_documents(documents, more))
    return {"alias": "bits per byte", "n": len(documents), "bits_per_byte,none": nats / math.log(2) / n_bytes, "bytes": n_bytes,
            "published": held.total, "subset_seed": held.seed, "source": held.source,
            "how": f"each document by itself, windows of {scorer.limit} tokens that overlap by half"}


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """documents: that weren't trained on, of source, which has ``total``; seed: by which they were drawn, None for all."""

    documents: list[bytes]
    source: str
    total: int
    seed: int | None


def texts(given: argparse.Namespace, corpus: Callable[[], Corpus] | None) -> HeldOut:
    """Documents of ``--text``, of a folder those in files named validation or test, where there are such; else those held out
    of the run's own text; else of the built-in corpus. A few are drawn where no text was given.
    """
    if given.text and Path(given.text).exists():
        path = Path(given.text)
        files = readable_files(path) if path.is_dir() else [path]
        named = [file for file in files if path.is_dir() and split_of(file.relative_to(path)) in ("validation", "test")]
        found, source = [text for file in named or files for text in documents_of(file, "text")], given.text
    elif corpus is not None and not given.text:
        own = corpus()
        found, source = list(own.validation.documents(own.tokenizer)), f"held out of {own.name}"
    else:
        other = open_source(given.text or "world", field="text", seed=0, megabytes=1.0)
        found, source = list(other.documents("validation")), other.name
    limit = given.limit or (None if given.text else FEW)
    drawn = benchmark.sample(found, limit, given.seed)
    return HeldOut(drawn, source, len(found), given.seed if len(drawn) < len(found) else None)


def _known(given: argparse.Namespace, corpus: Callable[[], Corpus] | None) -> Iterator[bytes]:
    """Text that grammaticality is judged by, `KNOWN` bytes of it, from all over the run's text where that is at hand."""
    if corpus is None or given.text:
        documents = open_source(given.text or "world", field="text", seed=0, megabytes=4.0).documents("train")
    else:
        shard = corpus().train
        documents = shard.documents(corpus().tokenizer, every=max(1, round(shard.n_bytes / KNOWN)))
    return until(KNOWN, documents)


# --- tables

def table(found: dict[str, Any], names: list[str]) -> Table:
    """The tasks of this call."""
    out = Table(title=f"{found['model_name']}, {found['parameters']:,} parameters", box=SIMPLE_HEAD)
    for column in ("task", "metric", "score", "chance", "n", "ties"):
        out.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for name in names:
        row = found["results"][name]
        n = f"{row['n']:,}" + (f" of {row['published']:,}" if row["n"] < row.get("published", row["n"]) else "")
        metrics = [key.partition(",")[0] for key in row if key.endswith(",none") and results.STDERR not in key]
        for place, metric in enumerate(metrics):
            share = metric.startswith("acc")
            shown = [f"{value:.1%}" if share else f"{value:.3f}" for value in
                     (row[f"{metric},none"], row.get(f"{metric}{results.STDERR},none")) if value is not None]
            rest = ["", "", ""] if place else [f"{row['chance']:.0%}" if share else "", n, str(row.get("ties", ""))]
            out.add_row("" if place else row["alias"], metric, " ± ".join(shown), *rest)
    cut = [f"{row['cut']:,} of {row['alias']}" for name in names if (row := found["results"][name]).get("cut")]
    if cut:
        out.caption = f"prompts that lost their beginning, for {found['limit']} tokens are read at once: {', '.join(cut)}"
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
    rows = anchors.beside(found)
    out = Table(title="beside others (per cent; N: acc_norm; *: of a subset)", box=SIMPLE_HEAD)
    for column in ("model", "size", *(TASKS[name].title for name in PAPER)):
        out.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    for row in rows:
        out.add_row(row.name, f"{row.parameters:.3g}M", *row.cells, style="bold" if row.own else None)
    return out
