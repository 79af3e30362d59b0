"""Evaluation tasks: the slot of ``stlm eval --tasks`` and ``--train.tasks``. A task's name is the name of its file, or a dotted
path to a module elsewhere.

The contract: ``run(context)`` returns figures. A task also declares its title, its groups, and the options that it takes.
`item_task` has base classes for tasks that consist of items and for tasks whose items are in a data set. `probes` has the base
class of linear probes.

``stlm eval --help`` shows the first line of a kind's docstring, and its ``groups``. It reads them from the file without
importing it, so ``groups`` has to be a literal there.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from stlm.config.slot import Slot, kinds, resolve
from stlm.config.suggest import did_you_mean
from stlm.config.words import split_list
from stlm.errors import UserError
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.grid import Grid

ALL = "all"  # the name for all kinds of the package
Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TaskConfig(Slot):
    """A task."""

    package: ClassVar[str] = "stlm.evaluate.task"
    title: ClassVar[str] = ""
    """Its name in tables; empty means the kind."""
    shots: ClassVar[int] = 0
    """Solved examples before each item."""
    groups: ClassVar[tuple[str, ...]] = ()
    """Names in ``--tasks`` for several tasks, this one among them, such as ``paper``."""
    options: ClassVar[tuple[str, ...]] = ()
    """Which of ``--data``, ``--text``, ``--layer`` and ``--judge`` it takes. All tasks take ``--limit`` and ``--seed``."""

    @abc.abstractmethod
    def run(self, context: Evaluation) -> Figures:
        """Score ``context.scorer``.

        Figures are named as in lm-evaluation-harness. ``n``, the number of items or documents, is required. ``METRIC,none`` is
        shown in tables and logged in training, with ``METRIC_stderr,none``. A metric whose name begins with ``acc`` is a share
        and is shown with ``chance``. ``published``: the number of all items, of which ``n`` were drawn by ``subset_seed``.
        ``source``: where the items are from. ``digest``: a hash of what was read, by `records.digest_of`. ``seconds``: the
        time that all answers took, if some are of an earlier call. ``groups``: figures of parts, by name. All other figures are
        only recorded.
        """

    def prepare(self, data: TaskData) -> Callable[[Evaluation], Figures]:
        """`run` for models that are scored repeatedly. What it needs of ``data`` is read now, and only once."""
        return self.run

    def tables(self, found: dict[str, Any]) -> list[Grid]:
        """Tables besides the task's row in the common table. found: the content of ``results.json``, this task included."""
        return []


def choose(words: str) -> list[TaskConfig]:
    """The tasks of a list with commas, each once. Groups and ``all`` stand for several tasks.

    Raises UserError, which lists the names, if there is no such task.
    """
    known, out = kinds(TaskConfig), dict[str, TaskConfig]()
    names = split_list(words)
    if not names:
        raise UserError(f"--tasks {words!r}: name at least one task; `stlm eval --help` lists them")
    for word in names:
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
    """The task of one name. UserError if there is none."""
    config: Any = resolve(TaskConfig, kind, "--tasks")
    try:
        return config()
    except TypeError as error:  # a field has no default
        raise UserError(f"--tasks: {kind}: {error}") from None
