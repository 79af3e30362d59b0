"""Looks at the validation text, and at benchmarks, while a model trains."""

from __future__ import annotations

from stlm.evaluate import benchmark
from stlm.evaluate.bits import score
from stlm.evaluate.items import Item
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.tasks import Task, choose
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


class Benchmarks(Hook):
    """``eval/TASK/METRIC`` of a subset, every so many steps and at the end."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.tasks = choose(",".join(names)) if names else []
        self._items: dict[Task, list[Item]] = {}

    def started(self, trainer: Trainer) -> None:
        self._items = {task: benchmark.sample(task.items()[0], trainer.config.train.tasks_limit, 0) for task in self.tasks}

    def stepped(self, trainer: Trainer) -> dict[str, float] | None:
        train = trainer.config.train
        if not self.tasks or (trainer.step % train.tasks_every and not trainer.done):
            return None
        scorer = NativeScorer(trainer.folder.name, trainer.usable_model(), trainer.corpus.codec, train.seq)
        found = {task: benchmark.score(scorer, task, items) for task, items in self._items.items()}
        return {f"eval/{task.name}/{metric}": found[task][f"{metric},none"] for task in self.tasks for metric in task.metrics}
