"""One run of a comparison: it is trained by ``stlm train``, then measured. Started as ``python -m stlm.compare.job``.

Training and measuring have their own processes. So a comparison can be killed, use several cores or run on a cluster, and each
peak of memory belongs to one run.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stlm.compare.writing import bytes_per_second
from stlm.config.files import read_json
from stlm.config.words import ended
from stlm.config.writing import write_json
from stlm.data.cache import cache_folders
from stlm.data.concat import open_sources
from stlm.data.shards import Shard, prepare
from stlm.errors import UserError
from stlm.evaluate.bits import score
from stlm.evaluate.evaluation import Evaluation
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.results import plain
from stlm.evaluate.task import choose
from stlm.evaluate.texts import Texts
from stlm.train.checkpoint import Checkpoint
from stlm.train.compiling import named
from stlm.train.device import placed
from stlm.train.folder import BITS, RUNS, RunFolder, find_checkpoint
from stlm.train.text import open_text

FURTHER = 300_000  # bytes of each further text that are scored
ROUNDS = 3  # rounds in which the speed of each finished run is measured once
NEEDED = (BITS, "bytes_per_patch", "parameters", "trained_bytes", "seconds", "flops", "peak_megabytes")  # of a trained run
MEASURED = ("written_bytes_per_second", "provenance", "texts")  # fields of a measured run


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of a comparison. name: name of its folder. words: arguments of ``stlm train``. texts: further held-out
    texts to score, by name. after: names of the runs that it builds on. tasks: benchmarks to run, each on at most
    ``tasks_limit`` items.
    """

    name: str
    words: list[str]
    texts: dict[str, str]
    after: list[str] = dataclasses.field(default_factory=list)
    tasks: list[str] = dataclasses.field(default_factory=list)
    tasks_limit: int = 1000

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def _results(self) -> Path:
        return self.folder / "results.json"

    @property
    def _measures(self) -> Path:
        return self.folder / "measures.json"

    @property
    def trained(self) -> bool:
        """Trained to the end. UserError if another version did that, which wrote other fields."""
        if not self._results.exists():
            return False
        found = read_json(self._results)
        if missing := [name for name in (*NEEDED, "reading") if not isinstance(found, dict) or name not in found]:
            raise UserError(f"{self._results}: it has no field {missing[0]!r}, so another version of stlm wrote it; "
                            "move this run's folder away, and it is trained again")
        return True

    @property
    def finished(self) -> bool:
        """Whether it is trained to the end and measured on all texts and tasks, by this version or one that wrote the same
        fields.
        """
        found = read_json(self._measures) if self._measures.exists() else None
        return (isinstance(found, dict) and found.keys() >= {*MEASURED} and self.measured_by(found) and self.trained)

    def measured_by(self, found: dict[str, Any]) -> bool:
        """Whether these measures are of all its texts and tasks."""
        return found["texts"].keys() >= self.texts.keys() and {
            name.partition("/")[0] for name in found.get("scores", {})} >= {*self.tasks}

    def found(self) -> dict[str, Any]:
        """The results of training and measuring."""
        return {**read_json(self._results), **read_json(self._measures)}

    def command(self, device: str = "auto") -> list[str]:
        """The command that carries it out on a device. A run that was stopped is continued."""
        return [sys.executable, "-m", "stlm.compare.job", json.dumps(dataclasses.asdict(self)), device]

    def carry_out(self, device: str = "auto") -> int:
        """Train in a process of its own, then measure in this process. Returns the exit status."""
        if not self.trained:
            train = [sys.executable, "-m", "stlm", "train", *self.words, "--name", self.name, "--resume",
                     "--device", device]
            if status := subprocess.run(train, check=False).returncode:
                if status < 0:
                    print(f"stlm: training {ended(status)}", file=sys.stderr)
                return status
        checkpoint = find_checkpoint(self.name)
        found = {**measure(checkpoint, self.texts, device), "scores": scores(checkpoint, self.tasks, self.tasks_limit, device),
                 "provenance": provenance(self.folder)}
        if self._measures.exists():  # keep the results of other recipes' texts and tasks
            before = read_json(self._measures)
            found |= {name: {**before.get(name, {}), **found[name]} for name in ("texts", "scores")}
        write_json(self._measures, found)
        return 0

    @property
    def timed_in_turns(self) -> bool:
        """Whether its speed of generation was measured in turns with other runs."""
        return "in_turns" in read_json(self._measures)

    def set_decoding_time(self, speed: float) -> None:
        """Save a speed of generation, in bytes per second, that was measured in turns with other runs."""
        found = {**read_json(self._measures), "written_bytes_per_second": speed, "in_turns": True}
        write_json(self._measures, found)


def provenance(folder: Path) -> dict[str, Any]:
    """The version of this project, the machine, the number of processes, the precision, and how it was compiled. Times of two
    runs can be compared only if these are equal.
    """
    env = read_json(RunFolder(folder).env)
    return {"git": _version(), **{name: env[name] for name in ("cpu", "device", "threads", "torch")},
            "processes": env.get("processes", 1), "precision": env["decided"]["precision"],
            "compile": named(env["decided"]["compile"])}


def _version() -> str:
    """The commit of this project. ``-changed`` is added if the code has been changed since. "" if it isn't in git."""
    root = Path(__file__).parents[3]
    if not (root / "src" / "stlm").is_dir():  # installed as a package, maybe inside another project's repository
        return ""
    commit = subprocess.run(["git", "-C", root, "describe", "--always"], capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD", "--", "src"], capture_output=True, check=False)
    return commit.stdout.strip() + ("-changed" if changed.returncode == 1 else "")


def measure(checkpoint: Checkpoint, texts: dict[str, str], device: str = "auto") -> dict[str, Any]:
    """Bits per byte of further texts, and a first estimate of the bytes written per second, while other runs may be active."""
    tokenizer, train = checkpoint.tokenizer, checkpoint.config.train
    model = placed(checkpoint.build_model(), tokenizer, device)
    shards = {name: Shard.of(_beginnings(text), tokenizer) for name, text in texts.items()}
    found = {name: score(model, shard, tokenizer, train.seq_len, train.batch_size, train.seq_len // 2).bits_per_byte
             for name, shard in shards.items()}
    return {"texts": found, "written_bytes_per_second": bytes_per_second(model.cpu(), tokenizer)}


def scores(checkpoint: Checkpoint, tasks: list[str], limit: int, device: str = "auto") -> dict[str, float]:
    """The figures of benchmarks, as TASK/METRIC, or as TASK/PART/METRIC for tasks that have only figures of parts."""
    if not tasks:
        return {}
    tokenizer, config = checkpoint.tokenizer, checkpoint.config
    scorer = NativeScorer(checkpoint.folder.name, placed(checkpoint.build_model(), tokenizer, device), tokenizer,
                          config.train.seq_len)
    texts = Texts(corpus=lambda: prepare(open_text(config), config.data.tokenizer, cache_folders()))
    found = dict[str, float]()
    for task in choose(",".join(tasks)):
        figures = task.run(Evaluation(scorer=scorer, limit=limit, texts=texts))
        found |= plain(task.kind, figures) or {
            f"{task.kind}/{part}/{metric}": value for part, values in figures["groups"].items()
            for metric, value in values.items()}
    return found


def time_decoding(runs: list[Run], measured: Callable[[], None]) -> None:
    """Measure the speed of generation of finished runs. They take turns in several rounds, because the speed of a machine
    drifts. The median of each is saved. ``measured`` is called after each measurement, ``ROUNDS`` times per run.
    """
    opened = [(run, find_checkpoint(run.name), list[float]()) for run in runs]
    for _ in range(ROUNDS):
        for _, checkpoint, speeds in opened:
            speeds.append(bytes_per_second(checkpoint.build_model(), checkpoint.tokenizer))
            measured()
    for run, _, speeds in opened:
        run.set_decoding_time(statistics.median(speeds))


def _beginnings(text: str) -> Iterator[bytes]:
    """The beginnings of the documents of a text, ``FURTHER`` bytes in all, and as equal in length as possible."""
    documents, left = sorted(open_sources(text).to_score(), key=len), FURTHER
    for number, document in enumerate(documents):
        part = document[:left // (len(documents) - number)]
        yield part
        left -= len(part)


if __name__ == "__main__":
    sys.exit(Run(**json.loads(sys.argv[1])).carry_out(sys.argv[2]))
