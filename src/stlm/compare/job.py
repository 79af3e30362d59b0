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

import torch

from stlm.config.files import read_json
from stlm.data.batch import Inputs
from stlm.data.readers import documents_of
from stlm.data.shards import Shard
from stlm.evaluate.bits import score
from stlm.text.world import write_story
from stlm.train.checkpoint import Checkpoint
from stlm.train.folder import RUNS, RunFolder, find_checkpoint, write_whole
from stlm.train.machine import pick_device

FURTHER = 300_000  # bytes of each further text that are scored
WRITTEN, TIMES = 512, 3  # bytes read one after the other for the speed of writing, and how often


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
        found = {**measure(find_checkpoint(self.name), self.texts), "made": made(self.folder)}
        if self._measures.exists():  # another recipe's texts stay
            found["texts"] = {**read_json(self._measures)["texts"], **found["texts"]}
        write_whole(self._measures, json.dumps(found, indent=1))
        return 0


def made(folder: Path) -> dict[str, Any]:
    """By which version of this project, where and how a run was made: what has to be the same for seconds to be compared."""
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
    """Bits per byte of further texts, and bytes written in a second, one text at a time: for all models the same bytes, which
    are put in as if they had been drawn. Writing is measured on the CPU, wherever the model was trained: a GPU is waited for
    at every byte, and a machine without one is what small models are for.
    """
    model, codec, train = checkpoint.build_model().to(pick_device()), checkpoint.codec, checkpoint.config.train
    shards = {name: Shard.of(_beginnings(Path(path)), codec) for name, path in texts.items()}
    found = {name: score(model, shard, codec, train.seq, train.rows, train.seq // 2).bits_per_byte
             for name, shard in shards.items()}
    model = model.cpu()
    text = "\n".join(write_story(0, number).text for number in range(8)).encode()[:WRITTEN]
    symbols, speeds = codec.encode(text).tolist(), []
    for _ in range(TIMES):
        cache, start = model.new_cache(1), time.perf_counter()
        with torch.inference_mode():
            for symbol in [codec.document, *symbols]:
                model(Inputs(torch.tensor([[symbol]], device=model.device)), cache).logits.argmax().item()
        speeds.append(len(text) / (time.perf_counter() - start))
    return {"texts": found, "written_bytes_per_second": statistics.median(speeds)}


def _beginnings(path: Path) -> Iterator[bytes]:
    """The beginnings of the documents of a file, ``FURTHER`` bytes in all, as much of each as can be."""
    documents, left = sorted(documents_of(path, "text"), key=len), FURTHER
    for number, document in enumerate(documents):
        part = document[:left // (len(documents) - number)]
        yield part
        left -= len(part)


if __name__ == "__main__":
    sys.exit(Run(**json.loads(sys.argv[1])).carry_out())
