"""The start of a run. If it fails, the run's name stays free."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from stlm.errors import UserError
from stlm.train.checkpoint import list_checkpoints
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer

LOCK = ".lock"


class Start(Callback):
    """The start of a run, as a context and as the last callback: it lasts until the first step is over. If a new run ends
    before, all that it has made in its folder is deleted, so the command may be given again. A run that existed before stays as
    it was.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._over = folder, folder.exists

    def __enter__(self) -> Start:
        if not self._over:
            self._folder.env.unlink(missing_ok=True)  # decisions of a start that was killed are of another run
        self._before = set(self._folder.path.iterdir())
        return self

    def on_train_begin(self, trainer: Trainer) -> None:
        """Write the description, now that all others have begun."""
        _check_disk(trainer)
        self._folder.create(trainer.config)

    def on_step_end(self, trainer: Trainer) -> None:
        if not self._over:
            _check_disk(trainer)  # by now it is known what the optimizer remembers
        self._over = True

    def __exit__(self, *error: object) -> None:
        if not self._over:
            for path in set(self._folder.path.iterdir()) - self._before:
                _delete(path)
            if {path.name for path in self._before} <= {LOCK}:
                _delete(self._folder.path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _bytes_of(values: Iterable[object]) -> int:
    """The size of the tensors among these values."""
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, torch.Tensor))


def _check_disk(trainer: Trainer) -> None:
    """UserError if the disk has no room for the checkpoints that a run keeps."""
    folder, train = trainer.folder.checkpoints, trainer.config.train
    weights = _bytes_of(trainer.trained)
    states = (state for optimizer in trainer.optimizers for state in optimizer.state.values())
    state = _bytes_of(value for state in states for value in state.values())
    size = weights * (2 if trainer.ema is not None else 1) + (state or 2 * weights)  # before the first step: two moments
    apart = 2 * weights * train.keep_best  # while better weights are written, the old ones stay
    saves = math.inf if trainer.total is None else math.ceil((trainer.total - trainer.step) / train.checkpoint_every)
    more = max(1, min(train.keep + 1 - len(list_checkpoints(folder)), saves))
    free = shutil.disk_usage(trainer.folder.path).free
    if free < more * size + apart:
        raise UserError(f"{folder}: {more} checkpoint{'s' * (more > 1)} of {size / 1e6:,.1f} MB will be written, but the disk "
                        f"has room for {free / 1e6:,.1f} MB; free some space, or lower --train.keep")
