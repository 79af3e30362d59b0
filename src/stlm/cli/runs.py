"""Functions that several verbs use: texts and progress bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stlm.cli.console import Console
from stlm.data.cache import cache_folders, is_temporary
from stlm.data.shards import Corpus, Shard, prepare
from stlm.data.sources import Source
from stlm.data.splits import LEAST
from stlm.errors import in_one_line
from stlm.train.checkpoint import Checkpoint
from stlm.train.finetune import tokenizer_of
from stlm.train.run_config import RunConfig
from stlm.train.text import beginning_of, open_text

TOLD_AT_ONCE = 1 << 18  # bytes after which a bar moves


def open_corpus(config: RunConfig, console: Console, source: Source | None = None, start: Checkpoint | None = None) -> Corpus:
    """The text of a run, or ``source``, as tokens. It is written to the cache first if it isn't there. start: a checkpoint of
    the run, if there is one.
    """
    source = source or open_text(config)
    with bar(console) as progress:
        corpus = prepare(source, tokenizer_of(config, start), cache_folders(), _shown(progress, source))
    if corpus.folder is not None and is_temporary(corpus.folder):
        console.say(f"no cache folder of yours can be written, so this text is kept in {corpus.folder.parent}; "
                    "set STLM_CACHE to a folder that lasts")
    return beginning_of(config, corpus)


def _shown(progress: Progress, source: Source) -> Callable[[str, int], None]:
    """A function that shows what is done with a text, and how much of it. Texts of a million documents are told in parts."""
    task = progress.add_task("", total=source.size_hint)
    doing, unsaid = "", 0
    names = {"checking": "checking", "tokenizer": "learning a tokenizer from"}

    def show(now: str, n_bytes: int) -> None:
        nonlocal doing, unsaid
        if names.get(now, "reading") != doing:
            doing, unsaid = names.get(now, "reading"), 0
            progress.reset(task, total=source.size_hint, description=f"{doing} {source.name}")
        unsaid += n_bytes
        if unsaid >= TOLD_AT_ONCE:
            progress.advance(task, unsaid)
            unsaid = 0

    return show


def described(source: Source, corpus: Corpus) -> str:
    """What of a text is read, held out and passed over, in one line."""
    train, held = corpus.train, corpus.validation
    more = ", more than usual, because the text is short" if source.holds_more else ""
    few = ", which is little: its score will be rough" if held.n_bytes < LEAST else ""
    return "; ".join(filter(None, [
        f"{corpus.name}, {_documents(train)}, {train.n_bytes / 1e6:.{1 if train.n_bytes >= 1e6 else 3}f} MB to train on",
        f"{_documents(held)}, {held.n_bytes / 1e3:.{0 if held.n_bytes >= 1e5 else 1}f} kB held out{more or few}",
        source.about()]))


def _documents(shard: Shard) -> str:
    return f"{shard.n_documents:,} document{'s' if shard.n_documents != 1 else ''}"


def bar(console: Console) -> Progress:
    """A progress bar for work of known size."""
    return Progress(TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                    TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def scoring_bar(console: Console, what: str) -> tuple[Progress, Callable[[float], None]]:
    """A bar, and a function that sets it to a share between 0 and 1."""
    progress = bar(console)
    task = progress.add_task(what, total=1.0)
    return progress, lambda share: progress.update(task, completed=share)


def page_line(write: Callable[[], Path]) -> str:
    """Write a page; the line that says where it is. Its figures are on disk already, so a page that can't be drawn, for example
    because a package is broken, costs nothing but itself.
    """
    try:
        return f"report:  {write()}"
    except Exception as error:
        return f"report:  not written ({in_one_line(error)}); everything else is saved"
