"""The held-out text in training: scored now and then, the best weights kept, overfitting told, and the run ended by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stlm.evaluate.bits import score
from stlm.model.lm import LM
from stlm.train import best
from stlm.train.folder import EXCERPT_BITS, EXCERPT_BYTES
from stlm.train.loop import Callback, Trainer

FINAL = 1.0  # the progress of a model whose training is over


class Validation(Callback):
    """Bits per byte of the first part of the held-out text, in windows without overlap, whenever `Trainer.evaluates` says so.
    At the end of a run, all of the text is scored in windows that overlap; that figure has another name.

    A run that starts from other weights is scored before its first step too, so its best weights may be those. say: is called
    with a line for the person, once the text is clearly overfitted.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        self._say, self._told = say, False
        self._looks = list[best.Look]()
        self._kept: best.Look | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        self._looks = best.looks_of(trainer.folder)
        self._kept = best.kept(trainer.folder) if trainer.config.train.keep_best else None

    def before_first_step(self, trainer: Trainer) -> dict[str, float] | None:
        if trainer.config.train.init_from is None:
            return None
        model = trainer.usable_model()
        model.set_progress(FINAL)  # it was trained to the end
        return self._look(trainer, model, FINAL)

    def on_step_end(self, trainer: Trainer) -> dict[str, float] | None:
        if not trainer.evaluates:
            return None
        figures = self._look(trainer, trainer.usable_model(), trainer.progress())
        self._warn(trainer)
        if not trainer.done and best.is_over(self._looks, trainer.config.train.stop_after):
            trainer.over = True
        return figures

    def _look(self, trainer: Trainer, model: LM, progress: float) -> dict[str, float]:
        bits, n_bytes = self._score(trainer, model)
        look = best.Look(trainer.step, bits, n_bytes)
        self._looks = best.comparable([*self._looks, look])
        if trainer.config.train.keep_best:
            self._keep(trainer, model, look, progress)
        return {EXCERPT_BITS: bits, EXCERPT_BYTES: n_bytes}

    def _score(self, trainer: Trainer, model: LM) -> tuple[float, int]:
        train = trainer.config.train
        result = score(model, trainer.corpus.validation, trainer.corpus.tokenizer, train.seq_len, train.batch_size,
                       limit=int(train.evaluate_kilobytes * 1000))
        return result.bits_per_byte, result.n_bytes

    def _keep(self, trainer: Trainer, model: LM, look: best.Look, progress: float) -> None:
        """Keep the weights if they are better than those that are kept."""
        if self._kept is not None and self._kept.n_bytes != look.n_bytes:  # another excerpt, since the run was resumed
            other = best.load_best(trainer.folder, self._kept).build_model().to(trainer.device)
            self._kept = best.Look(self._kept.step, *self._score(trainer, other))
        if self._kept is None or look.bits < self._kept.bits:
            counters = {**dataclasses.asdict(trainer.counters), "progress": progress}
            best.keep(trainer.folder, trainer.config, trainer.corpus.tokenizer, model, look, counters)
            self._kept = look

    def _warn(self, trainer: Trainer) -> None:
        times = trainer.counters.epochs(trainer.corpus.train)
        if self._told or times <= 1 or not best.has_got_worse(self._looks):
            return
        self._told, train, first = True, trainer.config.train, best.best_of(self._looks)
        kept = "the best weights are kept; " if train.keep_best else ""
        advice = ["less training", "more text", *([] if train.stop_after else ["--train.stop-after 3"])]
        self._say(f"the text was read {times:.1f} times, and held-out text is getting worse ({first.bits:.3f} bits per byte at "
                  f"step {first.step:,}, now {self._looks[-1].bits:.3f}); {kept}try "
                  f"{', '.join(advice[:-1])} or {advice[-1]}")
