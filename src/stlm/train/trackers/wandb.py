"""Weights & Biases. A continued run adds to its earlier record. ``WANDB_MODE=offline`` needs no network."""

from __future__ import annotations

import wandb

from stlm.config.decode import encode
from stlm.errors import UserError, in_one_line
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer
from stlm.train.run_config import RunConfig


class Tracker(Callback):
    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        self._folder, self._config = folder, config
        try:
            if wandb.setup().settings.mode == "online":
                wandb.login()
        except Exception as error:  # without a key, with a wrong one, without network
            raise UserError(f"train.trackers: wandb can't log in ({in_one_line(error)}); log in with `wandb login`, or set "
                            "WANDB_MODE=offline") from None

    def on_train_begin(self, trainer: Trainer) -> None:
        name = self._folder.name
        self._run = wandb.init(project="stlm", name=name, id=name, resume="allow", config=encode(self._config),
                               dir=str(self._folder.path))

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        self._run.log({name: value for name, value in figures.items() if "/" in name}, step=int(figures["step"]))

    def on_train_end(self, trainer: Trainer) -> None:
        self._run.finish()
