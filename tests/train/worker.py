"""Trains a tiny run in this process. Arguments: folder, steps, cadence of checkpoints, and on or off for compiling."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.train.tiny import tiny_trainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = tiny_trainer(Path(sys.argv[1]), steps=int(sys.argv[2]), checkpoint_every=int(sys.argv[3]), resume=True,
                           compile=sys.argv[4])
    print("training", flush=True)
    trainer.run()
