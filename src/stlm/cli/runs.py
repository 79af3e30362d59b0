"""Functions that several verbs use: texts, progress bars, and commands to type next."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stlm.cli.console import Console
from stlm.data.concat import open_sources
from stlm.data.shards import Corpus, cache_folder, prepare
from stlm.train.folder import places_of
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig


def open_corpus(config: RunConfig, console: Console) -> Corpus:
    """The text of a run. It is written to the cache first if it isn't there."""
    data = config.data
    source = open_sources(data.source, field=data.field, seed=config.seed, megabytes=data.megabytes)
    with bar(console) as progress:
        task = progress.add_task("", total=source.size_hint)

        def show(split: str, n_bytes: int) -> None:
            if split == "tokenizer":
                progress.update(task, description=f"learning a tokenizer from {source.name}")
            else:
                progress.update(task, description=f"reading {source.name}", advance=n_bytes)

        return prepare(source, data.tokenizer, cache_folder(), show)


def bar(console: Console) -> Progress:
    """A progress bar for work of known size."""
    return Progress(TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                    TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def scoring_bar(console: Console, what: str) -> tuple[Progress, Callable[[float], None]]:
    """A bar, and a function that sets it to a share between 0 and 1."""
    progress = bar(console)
    task = progress.add_task(what, total=1.0)
    return progress, lambda share: progress.update(task, completed=share)


def is_run(name: str) -> bool:
    """Whether a word is the name of a run, not of a preset."""
    return name not in PRESETS and not name.endswith(".toml") and any(path.exists() for path in places_of(name))


def command(*words: str) -> str:
    """``stlm`` with these words, as they are typed in a shell."""
    return shlex.join(["stlm", *words])


def dashed(text: str) -> list[str]:
    """The words for a text that may begin with a dash."""
    return ["--", text] if text.startswith("-") else [text]
