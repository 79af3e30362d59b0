"""How time and memory grow with parameters, with context and with text.

    python -m benchmarks scaling [--gigabytes 10]

Every point runs in a process of its own, so that its peak of memory is measured alone. Longer text consists of several links to
the same file. Text is read, written as a shard and streamed, so the largest text needs as much free disk space as it has bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks import common
from stlm.data.stream import Stream
from stlm.model.count import count
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.presets import PRESETS

PARAMETERS = ("demo", "10m", "50m", "100m")
CONTEXTS = (256, 1024, 4096, 16384)
STEP = 16384  # bytes of a step, the same for all lengths of the context


def training(preset: str, seq_len: int, batch_size: int) -> dict[str, Any]:
    """Two steps of training, in float32, not compiled. The second is timed."""
    config = PRESETS[preset]()
    config = dataclasses.replace(config, train=dataclasses.replace(
        config.train, steps=10, minutes=None, seq_len=seq_len, batch_size=batch_size, precision="fp32", compile="off"))
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        run.create(config)
        trainer = build_run(run, config, common.open_text("world"), common.CPU, [])
        trainer.advance()
        took = common.timed(trainer.advance)
    return {"parameters": count(trainer.model).unique, "seq_len": seq_len, "batch_size": batch_size, "seconds": took}


def text(copies: int, source: str) -> dict[str, Any]:
    """A text of ``copies`` copies: it is written as a shard, then streamed."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STLM_CACHE"] = folder
        links = Path(folder) / "text"
        links.mkdir()
        for copy in range(copies):
            (links / f"part-{copy}.jsonl.zst").symlink_to(source)
        start = time.perf_counter()
        corpus = common.open_text(str(links))
        wrote = time.perf_counter() - start
        stream = Stream(corpus.train, ByteTokenizer(), 1024, 16, seed=0)
        stream.batch(0)
        read = common.timed(lambda: [stream.batch(number) for number in range(1, 101)])
        return {"megabytes": corpus.train.n_bytes / 1e6, "seconds": wrote, "milliseconds_a_batch": 10 * read}


def point(*words: str) -> dict[str, Any]:
    """One point, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", "scaling", "--point", *words], check=True, capture_output=True,
                          text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the largest text")
    parser.add_argument("--data", default=common.real_text("wikipedia_en_2015"))
    parser.add_argument("--point", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.point:
        kind, *words = given.point
        found = training(words[0], int(words[1]), int(words[2])) if kind == "training" else text(int(words[0]), words[1])
        print(json.dumps({**found, "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    points = {"parameters": [point("training", preset, "1024", "4")
                             for preset in track(PARAMETERS, "parameters", console=common.CONSOLE, transient=True)],
              "context": [point("training", "10m", str(seq_len), str(STEP // seq_len))
                          for seq_len in track(CONTEXTS, "context", console=common.CONSOLE, transient=True)], "text": []}
    if given.data != "world":
        small, large = (Path(given.data).resolve() / f"{split}.jsonl.zst" for split in ("validation", "train"))
        texts = [(small, 1, 0.0008), (small, 13, 0.01), (large, 1, 0.13), (large, 8, 1.0), (large, 79, 10.0)]
        points["text"] = [point("text", str(copies), str(source))
                          for source, copies, size in track(texts, "text", console=common.CONSOLE, transient=True)
                          if size <= given.gigabytes]
    common.save("scaling", {"question": "How do time and memory grow?", **points})
    for name, rows in points.items():
        if rows:
            columns = list(rows[0])
            common.print_table(name, columns, ([f"{row[c]:,.0f}" if row[c] >= 100 else f"{row[c]:,.2f}" for c in columns]
                                               for row in rows))
