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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stlm.config.files import read_json
from stlm.data.readers import documents_of
from stlm.data.shards import Shard
from stlm.evaluate.bits import score
from stlm.generate.sampling import Sampling
from stlm.generate.writer import write
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, find_checkpoint, write_whole
from stlm.train.machine import pick_device

FURTHER = 300_000  # bytes of each further text that are scored
WRITTEN, TIMES = 256, 3  # bytes written for the speed of writing, and how often


@dataclasses.dataclass(frozen=True)
class Run:
    """A training that is part of a comparison. name: of its folder; words: what follows ``stlm train``; texts: files of
    further held-out text to score, by name.
    """

    name: str
    words: list[str]
    texts: dict[str, str]

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def _measures(self) -> Path:
        return self.folder / "measures.json"

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
        if not (self.folder / "results.json").exists():
            train = [sys.executable, "-m", "stlm", "train", *self.words, "--name", self.name, "--resume"]
            if status := subprocess.run(train, check=False).returncode:
                return status
        found = measure(find_checkpoint(self.name), self.texts)
        if self._measures.exists():  # another recipe's texts stay
            found["texts"] = {**read_json(self._measures)["texts"], **found["texts"]}
        write_whole(self._measures, json.dumps(found, indent=1))
        return 0


def measure(checkpoint: Checkpoint, texts: dict[str, str]) -> dict[str, Any]:
    """Bits per byte of further texts, and bytes written in a second, one text at a time."""
    model, codec, train = checkpoint.build_model().to(pick_device()), checkpoint.codec, checkpoint.config.train
    shards = {name: Shard.of(_beginning(Path(path)), codec) for name, path in texts.items()}
    found = {name: score(model, shard, codec, train.seq, train.rows, train.seq // 2).bits_per_byte
             for name, shard in shards.items()}
    speeds = []
    for seed in range(TIMES):
        start = time.perf_counter()
        n = sum(len(piece) for piece in write(model, codec, b"The ", WRITTEN, Sampling(temperature=1.0), seed))
        speeds.append(n / (time.perf_counter() - start))
    return {"texts": found, "written_bytes_per_second": statistics.median(speeds)}


def _beginning(path: Path) -> Iterator[bytes]:
    """The first documents of a file, ``FURTHER`` bytes in all."""
    left = FURTHER
    for document in documents_of(path, "text"):
        yield document[:left]
        left -= len(document)
        if left <= 0:
            return


if __name__ == "__main__":
    sys.exit(Run(**json.loads(sys.argv[1])).carry_out())
