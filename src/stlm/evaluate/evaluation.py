"""The inputs of a task: its data, and the model that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stlm.config.writing import to_json, write_whole
from stlm.evaluate.scorer import Progress, Scorer
from stlm.evaluate.texts import HeldOut, Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskData:
    """The data of a task, which don't depend on the model.

    folder: the folder of data sets, as for `records.load`. limit: the number of items or documents, drawn by ``seed``; None
    means all. texts: read only if a task uses them.
    """

    folder: Path | None = None
    limit: int | None = None
    seed: int = 0
    texts: Texts = dataclasses.field(default_factory=Texts)

    def held_out(self) -> HeldOut:
        """Held-out documents to score."""
        return self.texts.held_out(self.limit, self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(TaskData):
    """One model and one task.

    judge: a larger model that scores generated text, or None. layer: the layer of the trunk for linear probes, from 1; None
    means the last. kept: a file to which answers are added as they come, and from which answers of an earlier call are used
    again; None saves nothing. progress: is called with the share that is done.
    """

    scorer: Scorer
    judge: Scorer | None = None
    layer: int | None = None
    kept: Path | None = None
    progress: Callable[[float], None] = lambda share: None

    def keep(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write the file of answers anew, for a task that needs none of them again."""
        if self.kept is not None:
            write_whole(self.kept, "".join(to_json(line) + "\n" for line in lines))

    def count_to(self, total: int) -> Progress:
        """A function for work of ``total`` pieces. It is called with the number of newly finished pieces."""
        done = 0

        def more(n: int) -> None:
            nonlocal done
            done += n
            self.progress(done / total)

        return more
