"""What a model is scored on. The slot of ``stlm eval --tasks`` and ``--train.tasks``: a task's name is its file's, or a dotted
path to a module outside.

The contract: ``run(context)`` returns figures. A task declares the rest: its title, the groups that it belongs to, the options
that it takes. `item_task` has the base of tasks that consist of items, and of those whose items are in a data set; `probes` has
that of linear probes.

``stlm eval --help`` shows the first line of a kind's docstring, and its ``groups``. It reads them from the file, without
importing it, so ``groups`` have to be written out there.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from stlm.config.slot import Slot, did_you_mean, kinds, resolve
from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.grid import Grid

ALL = "all"  # stands for every kind of the package
Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TaskConfig(Slot):
    """A task."""

    package: ClassVar[str] = "stlm.evaluate.task"
    title: ClassVar[str] = ""
    """Its name in tables; the kind where empty."""
    shots: ClassVar[int] = 0
    """Solved examples before each item."""
    groups: ClassVar[tuple[str, ...]] = ()
    """Words that stand for this task and others in ``--tasks``, such as ``paper``."""
    options: ClassVar[tuple[str, ...]] = ()
    """Which of ``--data``, ``--text``, ``--layer`` and ``--judge`` it takes; ``--limit`` and ``--seed`` are for all."""

    @abc.abstractmethod
    def run(self, context: Evaluation) -> Figures:
        """Score ``context.scorer``.

        Figures are in the terms of lm-evaluation-harness: ``n``, of items or documents, has to be there. ``METRIC,none`` is
        shown in tables and logged in training, with ``METRIC_stderr,none``; of shares, whose names begin with ``acc``, with
        ``chance``. ``published``: how many items there are, of which ``n`` were drawn by ``subset_seed``. ``source``: where
        they are from. ``groups``: figures of parts, by their names. Whatever else is kept in the record.
        """

    def prepare(self, data: TaskData) -> Callable[[Evaluation], Figures]:
        """`run`, for models that are scored again and again: what it needs of ``data`` is read now, and once."""
        return self.run

    def tables(self, found: dict[str, Any]) -> list[Grid]:
        """What is shown beyond the task's row in the common table. found: what ``results.json`` holds, this task included."""
        return []


def choose(words: str) -> list[TaskConfig]:
    """The tasks that a list with commas names, each once; groups and ``all`` stand for several.

    Raises UserError, with the names that there are, where one leads nowhere.
    """
    known, out = kinds(TaskConfig), dict[str, TaskConfig]()
    for word in words.split(","):
        if word in known or "." in word:
            found = [find(word)]
        else:
            every = [find(kind) for kind in known]
            found = [task for task in every if word == ALL or word in task.groups]
            if not found:
                groups = [*sorted({group for task in every for group in task.groups}), ALL]
                raise UserError(f"there is no task {word!r}{did_you_mean(word, [*known, *groups])}; the tasks are "
                                f"{', '.join(known)}; {', '.join(groups)} stand for several; or name a module of your own by a "
                                "dotted path")
        out |= {task.kind: task for task in found}
    return list(out.values())


def find(kind: str) -> TaskConfig:
    """The task of one name. Raises UserError where there is none."""
    config: Any = resolve(TaskConfig, kind, "--tasks")
    try:
        return config()
    except TypeError as error:  # a part of the contract is missing
        raise UserError(f"--tasks: {kind}: {error}") from None
