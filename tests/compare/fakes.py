"""Finished runs that were never trained."""

from __future__ import annotations

import json

from stlm.compare.job import Run
from stlm.train.folder import BITS, EXCERPT_BITS, RunFolder

RESULTS = {BITS: 2.0, "bytes_per_patch": 4.0, "trained_bytes": 2048, "seconds": 18.0, "flops": 3e6, "peak_megabytes": 300.0,
           "parameters": {"total": 9, "unique": 9, "tables": 3, "local": 3, "trunk": 3}, "reading": [["a", 8.0, 1]]}
MADE = {"git": "", "cpu": "a CPU", "device": "cpu", "threads": 1, "torch": "2", "precision": "fp32", "compile": False}
MEASURES = {"written_bytes_per_second": 100.0, "provenance": MADE, "texts": {}, "in_turns": True}


def finish(run: Run, bits: float = 2.0) -> None:
    """Write what a finished run leaves."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "results.json").write_text(json.dumps({**RESULTS, BITS: bits}))
    (run.folder / "measures.json").write_text(json.dumps({**MEASURES, "texts": dict.fromkeys(run.texts, 3.0)}))
    look = {"step": 1, "bytes": 1024, "seconds": 9.0, "flops": 1.5e6, EXCERPT_BITS: bits + 1}
    RunFolder(run.folder).metrics.write_text(json.dumps(look) + "\n")
