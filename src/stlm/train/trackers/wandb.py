"""Weights & Biases. A continued run adds to its earlier record. ``WANDB_MODE=offline`` needs no network."""

from __future__ import annotations

import wandb

from stlm.config.decode import encode
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer
from stlm.train.run_config import RunConfig


class Tracker(Callback):
    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        self._run = wandb.init(project="stlm", name=folder.name, id=folder.name, resume="allow", config=encode(config),
                               dir=str(folder.path))

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        self._run.log({name: value for name, value in figures.items() if "/" in name}, step=int(figures["step"]))

    def on_train_end(self, trainer: Trainer) -> None:
        self._run.finish()
