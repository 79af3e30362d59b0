"""Callbacks that evaluate a model during training: on benchmarks, and by samples of its text."""

from __future__ import annotations

from collections.abc import Callable

from stlm.data.shards import Corpus
from stlm.evaluate.evaluation import Evaluation, TaskData
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.results import plain
from stlm.evaluate.task import choose
from stlm.evaluate.texts import Texts
from stlm.generate.sampling import Sampling
from stlm.generate.writer import write
from stlm.train.loop import Callback, Trainer
from stlm.train.run_config import TrainConfig

FEW = 100  # texts
OPENING = 64  # tokens


class Benchmarks(Callback):
    """``eval/TASK/METRIC`` of a subset, every ``tasks_every`` steps and at the end. All data are read when it is made. corpus:
    a function that opens the text of the run, for tasks that need it.
    """

    def __init__(self, train: TrainConfig, corpus: Callable[[], Corpus]) -> None:
        tasks = choose(",".join(train.tasks)) if train.tasks else []
        self._data = TaskData(limit=train.tasks_limit, texts=Texts(corpus=corpus))
        self._runs = {task.kind: task.prepare(self._data) for task in tasks}

    def on_step_end(self, trainer: Trainer) -> dict[str, float] | None:
        train = trainer.config.train
        if not self._runs or (trainer.step % train.tasks_every and not trainer.done):
            return None
        scorer = NativeScorer(trainer.folder.name, trainer.usable_model(), trainer.corpus.tokenizer, train.seq_len)
        context = Evaluation(scorer=scorer, limit=self._data.limit, texts=self._data.texts)
        return {f"eval/{name}": value for kind, run in self._runs.items() for name, value in plain(kind, run(context)).items()}


def opening(corpus: Corpus) -> bytes:
    """What samples go on from: nothing, or some words of the held-out text if a model sees too few texts begin to learn it."""
    if corpus.train.n_documents >= FEW:
        return b""
    data = corpus.tokenizer.decode(corpus.validation.tokens[:OPENING].tolist())
    return (data.rpartition(b" ")[0] or data).decode("utf-8", errors="ignore").encode()


class Samples(Callback):
    """A short generated text, every ``sample_every`` steps. It is saved in ``samples.jsonl`` and passed to ``show``, after what
    it goes on from.
    """

    def __init__(self, show: Callable[[int, str], None], max_bytes: int = 240) -> None:
        self._show, self._max_bytes = show, max_bytes

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step % trainer.config.train.sample_every and not trainer.done:
            return
        corpus, prompt = trainer.corpus, opening(trainer.corpus)
        pieces = write(trainer.usable_model(), corpus.tokenizer, prompt, self._max_bytes, Sampling(), trainer.config.seed)
        text = b"".join([prompt, *pieces]).decode("utf-8", errors="replace")
        trainer.folder.append(trainer.folder.samples, {"step": trainer.step, "text": text})
        self._show(trainer.step, text)
