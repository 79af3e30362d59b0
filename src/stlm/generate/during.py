"""Samples of text while a model trains."""

from __future__ import annotations

from collections.abc import Callable

from stlm.generate.sampling import Sampling
from stlm.generate.writer import write
from stlm.train.loop import Hook, Trainer


class Samples(Hook):
    """A short text from nothing every so many steps, kept in ``samples.jsonl`` and handed to ``show``."""

    def __init__(self, show: Callable[[int, str], None], max_bytes: int = 240) -> None:
        self._show, self._max_bytes = show, max_bytes

    def stepped(self, trainer: Trainer) -> None:
        if trainer.step % trainer.config.train.sample_every and not trainer.done:
            return
        pieces = write(trainer.usable_model(), trainer.corpus.codec, b"", self._max_bytes, Sampling(), trainer.config.seed)
        text = b"".join(pieces).decode("utf-8", errors="replace")
        trainer.folder.append(trainer.folder.samples, {"step": trainer.step, "text": text})
        self._show(trainer.step, text)
