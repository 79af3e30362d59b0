"""The weights that the results of a run are of: the last ones, or those of its best evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stlm.evaluate.bits import Score, score
from stlm.model.lm import LM
from stlm.train import best
from stlm.train.loop import Trainer


@dataclasses.dataclass(frozen=True)
class Final:
    """The better weights, with their score on all of the held-out text. last: the score of the last weights. said: what the
    person should know about the choice; "" if there was none.
    """

    model: LM
    step: int
    score: Score
    last: Score
    said: str = ""


def final(trainer: Trainer, progress: Callable[[float], None] = lambda share: None) -> Final:
    """Score the last weights in windows that overlap by half. If they are worse on the excerpt than the best, the best weights
    are scored too.
    """
    train, corpus = trainer.config.train, trainer.corpus

    def scored(model: LM) -> Score:
        return score(model, corpus.validation, corpus.tokenizer, train.seq_len, train.batch_size, context=train.seq_len // 2,
                     progress=progress)

    last = trainer.usable_model()
    of_last, look = scored(last), better_look(trainer)
    if look is None:
        return Final(last, trainer.step, of_last, of_last)
    model = best.load_best(trainer.folder, look).build_model().to(trainer.device)
    of_best = scored(model)
    both = f"{of_best.bits_per_byte:.3f} bits per byte at step {look.step:,}, {of_last.bits_per_byte:.3f} at the end"
    if of_best.bits_per_byte >= of_last.bits_per_byte:
        return Final(last, trainer.step, of_last, of_last, f"the last weights are used, which are the better ones: {both}")
    return Final(model, look.step, of_best, of_last, f"the best weights are used, not the last ones: {both}")


def better_look(trainer: Trainer) -> best.Look | None:
    """The look at other weights than the last ones that may be better; None if there is none."""
    kept = best.kept(trainer.folder) if trainer.config.train.keep_best else None
    if kept is None or kept.step == trainer.step:
        return None
    last = next((look for look in reversed(best.looks_of(trainer.folder)) if look.step == trainer.step), None)
    known = last is not None and last.n_bytes == kept.n_bytes
    return None if known and last is not None and last.bits <= kept.bits else kept
