"""Trains tiny runs in one of several processes that torchrun or the test has started. Arguments: a JSON file with a list of
runs, each with folder, config, steps, and how it is spread. They are trained in float64, so that what differs is no rounding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from stlm.config.decode import decode
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.processes import open_ranks
from stlm.train.run_config import RunConfig
from tests.train.tiny import tiny_corpus

if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = open_ranks()
    for run in json.loads(Path(sys.argv[1]).read_text()):
        torch.set_default_dtype(getattr(torch, run.get("dtype", "float64")))
        folder, config = RunFolder(Path(run["folder"])), decode(RunConfig, run["config"], RunConfig())
        if ranks.is_main:
            folder.create(config)
        ranks.meet()
        trainer = build_run(folder, config, tiny_corpus(), torch.device("cpu"), [], folder.latest(), ranks, run["sharded"])
        while trainer.step < run["stop"] and not trainer.done:
            trainer.advance()
        trainer.save()
        ranks.meet()
    ranks.close()
