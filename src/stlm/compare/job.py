"""One run of a comparison: trained by ``stlm train``, then measured. Started as ``python -m stlm.compare.job``.

Both happen in processes of their own, so that a comparison can be killed, spread over cores or sent to a cluster, and peaks
of memory are of one run each.
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
from stlm.data.readers import documents_of
from stlm.data.shards import Shard
from stlm.evaluate.bits import score
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, RunFolder, find_checkpoint, write_whole
from stlm.train.machine import pick_device

FURTHER = 300_000  # bytes of each further text that are scored
ROUNDS = 3  # in which finished runs take turns at writing


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that is part of a comparison. name: of its folder; words: what follows ``stlm train``; texts: files of
    further held-out text to score, by name; after: names of runs that it builds on.
    """

    name: str
    words: list[str]
    texts: dict[str, str]
    after: list[str] = dataclasses.field(default_factory=list)

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def _measures(self) -> Path:
        return self.folder / "measures.json"

    @property
    def trained(self) -> bool:
        """Trained to the end."""
        return (self.folder / "results.json").exists()

    @property
    def finished(self) -> bool:
        """Trained to the end, and measured on all texts."""
        return self._measures.exists() and read_json(self._measures)["texts"].keys() >= self.texts.keys()

    def found(self) -> dict[str, Any]:
        """What training and measuring found."""
        return {**read_json(self.folder / "results.json"), **read_json(self._measures)}

    def command(self) -> list[str]:
        """What carries it out, from wherever it stopped."""
        return [sys.executable, "-m", "stlm.compare.job", json.dumps(dataclasses.asdict(self))]

    def carry_out(self) -> int:
        """Train and measure, in this process and one of its own; the exit status."""
        if not self.trained:
            train = [sys.executable, "-m", "stlm", "train", *self.words, "--name", self.name, "--resume"]
            if status := subprocess.run(train, check=False).returncode:
                return status
        found = {**measure(find_checkpoint(self.name), self.texts), "provenance": provenance(self.folder)}
        if self._measures.exists():  # another recipe's texts stay
            found["texts"] = {**read_json(self._measures)["texts"], **found["texts"]}
        write_whole(self._measures, json.dumps(found, indent=1))
        return 0

    @property
    def timed_in_turns(self) -> bool:
        """Whether its speed of writing was measured in turns with others."""
        return "in_turns" in read_json(self._measures)

    def set_decoding_time(self, speed: float) -> None:
        """Keep a speed of writing, bytes a second, that was measured in turns with others."""
        found = {**read_json(self._measures), "written_bytes_per_second": speed, "in_turns": True}
        write_whole(self._measures, json.dumps(found, indent=1))


def provenance(folder: Path) -> dict[str, Any]:
    """The version of this project, the machine, the precision and whether blocks were compiled. Seconds of two runs can only
    be compared where these are equal.
    """
    env = read_json(RunFolder(folder).env)
    return {"git": _version(), **{name: env[name] for name in ("cpu", "device", "threads", "torch")},
            **{name: env["decided"][name] for name in ("precision", "compile")}}


def _version() -> str:
    """The commit of this project that is run, marked where its code has been changed since; "" where it isn't in git."""
    root = Path(__file__).parents[3]
    if not (root / "src" / "stlm").is_dir():  # installed elsewhere, maybe inside of another project
        return ""
    commit = subprocess.run(["git", "-C", root, "describe", "--always"], capture_output=True, text=True, check=False)
    changed = subprocess.run(["git", "-C", root, "diff", "--quiet", "HEAD", "--", "src"], capture_output=True, check=False)
    return commit.stdout.strip() + ("-changed" if changed.returncode == 1 else "")


def measure(checkpoint: Checkpoint, texts: dict[str, str]) -> dict[str, Any]:
    """Bits per byte of further texts, and a first guess at the bytes written in a second, beside whatever else runs."""
    model, tokenizer, train = checkpoint.build_model().to(pick_device()), checkpoint.tokenizer, checkpoint.config.train
    shards = {name: Shard.of(_beginnings(Path(path)), tokenizer) for name, path in texts.items()}
    found = {name: score(model, shard, tokenizer, train.seq_len, train.batch_size, train.seq_len // 2).bits_per_byte
             for name, shard in shards.items()}
    return {"texts": found, "written_bytes_per_second": bytes_per_second(model.cpu(), tokenizer)}


def time_decoding(runs: list[Run], measured: Callable[[], None]) -> None:
    """Measure anew how fast finished runs write, in rounds in which they take turns, since the speed of a machine drifts; the
    median of each is kept. ``measured`` is called ``ROUNDS`` times a run.
    """
    opened = [(run, find_checkpoint(run.name), list[float]()) for run in runs]
    for _ in range(ROUNDS):
        for _, checkpoint, speeds in opened:
            speeds.append(bytes_per_second(checkpoint.build_model(), checkpoint.tokenizer))
            measured()
    for run, _, speeds in opened:
        run.set_decoding_time(statistics.median(speeds))


def _beginnings(path: Path) -> Iterator[bytes]:
    """The beginnings of the documents of a file, ``FURTHER`` bytes in all, as much of each as can be."""
    documents, left = sorted(documents_of(path, "text"), key=len), FURTHER
    for number, document in enumerate(documents):
        part = document[:left // (len(documents) - number)]
        yield part
        left -= len(part)


if __name__ == "__main__":
    sys.exit(Run(**json.loads(sys.argv[1])).carry_out())
