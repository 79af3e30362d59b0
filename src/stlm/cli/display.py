"""The display of a run in the terminal."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from stlm.cli.console import Console
from stlm.train.compiling import in_words
from stlm.train.folder import EXCERPT_BITS
from stlm.train.loop import Callback, Trainer


class Display(Callback):
    """A progress bar with bits per byte, bytes per second, MFU and time left. If the output isn't a terminal, it prints a plain
    line every few seconds.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._train, self._validation, self._line_at, self._began = "", "", 0.0, (0.0, 0.0)
        self._bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                             TextColumn("{task.fields[info]}", markup=False), console=console, transient=True,
                             disable=not console.is_terminal)
        self._task = self._bar.add_task("training", total=1.0, info="")

    def on_train_begin(self, trainer: Trainer) -> None:
        decided, train = trainer.decisions, trainer.config.train
        self._began = (trainer.counters.spent, trainer.progress())
        goal = (f"{trainer.total:,} steps" if trainer.total is not None else f"{train.minutes:g} minutes" if train.minutes
                else f"{train.teraflops:g} teraflops")
        goal += f", at most {train.max_minutes:g} minutes" if train.max_minutes else ""
        resumed = f", continued from step {trainer.step}" if trainer.step else ""
        compiled = f", {words}" if (words := in_words(decided.compile)) else ""
        for note in trainer.notes:
            self.console.say(note)
        self.console.say(f"training for {goal}{resumed}, in {decided.precision}{compiled}; Ctrl-C saves and stops")
        self._bar.start()

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        if "train/bits_per_byte" in figures:
            self._train = (f"{figures['train/bits_per_byte']:.3f} bits/byte  "
                           f"{figures['train/bytes_per_second'] / 1000:.1f} kB/s  MFU {figures['train/mfu']:.0%}")
        if EXCERPT_BITS in figures:
            self._validation = f"held out {figures[EXCERPT_BITS]:.3f}"

    def on_step_end(self, trainer: Trainer) -> None:
        share, (spent, done) = trainer.progress(), self._began  # finding a learning rate takes time, but may be no progress
        left = (trainer.counters.spent - spent) * (1 - share) / (share - done) if share > done else 0.0
        minutes, seconds = divmod(round(left), 60)
        info = "  ".join(part for part in (self._train, self._validation, f"{minutes}:{seconds:02} left") if part)
        self._bar.update(self._task, completed=share, description=f"step {trainer.step:,}", info=info)
        if not self.console.is_terminal and (time.monotonic() - self._line_at > 10 or trainer.done):
            self._line_at = time.monotonic()
            self.console.say(f"step {trainer.step:>6,}  {share:4.0%}  {info}")

    def sample(self, step: int, text: str) -> None:
        """Show a sample above the bar."""
        shown = " ".join(text.split())
        line = Text(f"at step {step:,} it writes: ", style="dim").append(shown, style="italic")
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def on_train_end(self, trainer: Trainer) -> None:
        self._bar.stop()

    def close(self) -> None:
        """Restore the terminal. It has to be called however the run ended."""
        self._bar.stop()
