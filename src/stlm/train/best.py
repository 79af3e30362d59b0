"""The best weights of a run so far, by its looks at the held-out text: ``runs/NAME/best/step_*``.

They are the weights that are used (the averaged ones if there are any), saved alone. What the looks have found stands in the
run's metrics, so a run that goes on knows it. It goes on from a checkpoint, and forgets the looks after that one, but not
weights that were saved after it: they stay until others are better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from stlm.config.files import read_table
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.text.tokenizer import Tokenizer
from stlm.train.checkpoint import TRAINER, Checkpoint, checkpoint_of, discard_others, list_checkpoints, open_checkpoint
from stlm.train.checkpoint import save_weights as write
from stlm.train.folder import EXCERPT_BITS, EXCERPT_BYTES, RunFolder, read_metrics
from stlm.train.run_config import RunConfig

WORSE = 1.01  # times the best figure, twice in a row: looks at one excerpt that differ by less are no sign of overfitting


@dataclasses.dataclass(frozen=True)
class Look:
    """One evaluation of the held-out text in training. bits: per byte, of the excerpt's ``n_bytes`` bytes."""

    step: int
    bits: float
    n_bytes: int


def looks_of(folder: RunFolder, until: int | None = None) -> list[Look]:
    """The looks of a run, up to step ``until``. Only those of the same excerpt as the last one can be compared with it."""
    found = [Look(int(line["step"]), line[EXCERPT_BITS], int(line[EXCERPT_BYTES])) for line in read_metrics(folder.metrics)
             if {EXCERPT_BITS, EXCERPT_BYTES} <= line.keys() and (until is None or line["step"] <= until)]
    return comparable(found)


def comparable(looks: Sequence[Look]) -> list[Look]:
    """The looks at the same excerpt as the last one."""
    return [look for look in looks if look.n_bytes == looks[-1].n_bytes]


def best_of(looks: Sequence[Look]) -> Look:
    """The best look; of equal ones the first."""
    return min(looks, key=lambda look: look.bits)


def without_new_best(looks: Sequence[Look]) -> int:
    """The number of looks since the best one."""
    return len(looks) - 1 - looks.index(best_of(looks)) if looks else 0


def has_got_worse(looks: Sequence[Look]) -> bool:
    """Whether the last two looks are clearly worse than the best."""
    return len(looks) > 2 and all(look.bits > WORSE * best_of(looks).bits for look in looks[-2:])


def is_over(looks: Sequence[Look], stop_after: int) -> bool:
    """Whether a run that stops after so many looks without a new best ends here. 0 never stops."""
    return 0 < stop_after <= without_new_best(looks)


def ended_early(folder: RunFolder, config: RunConfig, saved: Checkpoint) -> bool:
    """Whether a run that was saved at this point, and has this description, ended there because the held-out text didn't get
    better any more.
    """
    if config.train.stop_after == 0 or saved.counters.get("progress", 0.0) >= 1:
        return False
    return is_over(looks_of(folder, saved.counters["step"]), config.train.stop_after)


def kept(folder: RunFolder) -> Look | None:
    """The look whose weights are saved. If a kill came between writing new ones and deleting the old ones, there are two."""
    found = []
    for path in list_checkpoints(folder.best):
        try:
            record = read_table(path / TRAINER)
        except UserError as error:
            raise UserError(f"{error}; delete {path.name} to continue without these weights") from None
        step, bits, n_bytes = (record.get(name) for name in ("step", "excerpt_bits", "excerpt_bytes"))
        if type(step) is not int or type(n_bytes) is not int or not isinstance(bits, int | float):
            raise UserError(f"{path / TRAINER}: another version of stlm has written it, or it was changed by hand; delete "
                            f"{path.name} to continue without these weights")
        found.append(Look(step, bits, n_bytes))
    return best_of(found) if found else None


def load_best(folder: RunFolder, look: Look) -> Checkpoint:
    """The saved weights of a look, opened and verified."""
    return open_checkpoint(checkpoint_of(folder.best, look.step))


def keep(folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, model: LM, look: Look, counters: dict[str, Any]) -> None:
    """Save weights in the place of the ones before. Whenever a kill comes, the old or the new ones are whole, if they are of
    different steps. UserError if the disk can't take them.
    """
    folder.check_own()
    path = checkpoint_of(folder.best, look.step)
    write(path, config, tokenizer, model, {**counters, "excerpt_bits": look.bits, "excerpt_bytes": look.n_bytes})
    discard_others(folder.best, [path])


def forget(folder: RunFolder) -> None:
    """Delete the weights of a start that came to nothing."""
    discard_others(folder.best, [])
