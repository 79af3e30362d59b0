"""Looks at the validation text while a model trains."""

from __future__ import annotations

from stlm.evaluate.bits import score
from stlm.train.loop import Hook, Trainer


class Validation(Hook):
    """``val/bits_per_byte`` of the first part of the validation text, every so many steps; rows without overlap."""

    def stepped(self, trainer: Trainer) -> dict[str, float] | None:
        train = trainer.config.train
        if trainer.step % train.evaluate_every and not trainer.done:
            return None
        result = score(trainer.usable_model(), trainer.corpus.validation, trainer.corpus.codec, train.seq, train.rows,
                       limit=int(train.evaluate_kilobytes * 1000))
        return {"val/bits_per_byte": result.bits_per_byte}
