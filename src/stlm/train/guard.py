"""A run outlives what watches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stlm.errors import UserError, in_one_line
from stlm.train.loop import Callback, Trainer
from stlm.train.ranks import LostProcess

T = TypeVar("T")


class Guarded(Callback):
    """A callback that the run can do without. If it can't begin, the run doesn't either: that is a UserError. Later, its first
    fault is told in one line, and the run goes on without it.
    """

    def __init__(self, watched: Callback, name: str, tell: Callable[[str], None]) -> None:
        self._watched, self._name, self._tell, self._failed = watched, name, tell, False

    def on_train_begin(self, trainer: Trainer) -> None:
        try:
            self._watched.on_train_begin(trainer)
        except UserError:
            raise
        except Exception as error:  # programs of others raise errors of any type
            raise UserError(f"{self._name} can't begin ({in_one_line(error)})") from error

    def on_step_end(self, trainer: Trainer) -> dict[str, float] | None:
        return self._try(lambda: self._watched.on_step_end(trainer))

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        self._try(lambda: self._watched.on_log(trainer, figures))

    def on_train_end(self, trainer: Trainer) -> None:
        self._try(lambda: self._watched.on_train_end(trainer))

    def _try(self, work: Callable[[], T]) -> T | None:
        if self._failed:
            return None
        try:
            return work()
        except LostProcess:  # it came while we looked, and has nothing to do with us
            raise
        except Exception as error:
            self._failed = True
            self._tell(f"{self._name} failed ({in_one_line(error)}); the run goes on without it")
            return None
