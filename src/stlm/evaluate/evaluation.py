"""What a task is given: its data, and the model that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from stlm.evaluate.scorer import Progress, Scorer
from stlm.evaluate.texts import HeldOut, Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskData:
    """What a task reads, whichever model answers.

    folder: where data sets lie, as for `records.load`. limit: of items or documents, drawn by ``seed``; all where None.
    texts: read only when asked for.
    """

    folder: Path | None = None
    limit: int | None = None
    seed: int = 0
    texts: Texts = dataclasses.field(default_factory=Texts)

    def held_out(self) -> HeldOut:
        """Documents that weren't trained on."""
        return self.texts.held_out(self.limit, self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(TaskData):
    """One model before one task.

    judge: a larger model that reads what is written, if one was given. layer: of the trunk, 1 for the first; the last where
    None. kept: a file to which answers are added as they come, and from which those of an earlier call are taken; None keeps
    nothing. progress is told the share that is done.
    """

    scorer: Scorer
    judge: Scorer | None = None
    layer: int | None = None
    kept: Path | None = None
    progress: Callable[[float], None] = lambda share: None

    def count_to(self, total: int) -> Progress:
        """Progress for work that tells how many more of ``total`` are done."""
        done = 0

        def more(n: int) -> None:
            nonlocal done
            done += n
            self.progress(done / total)

        return more
