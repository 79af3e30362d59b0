"""TensorBoard event files in ``runs/NAME/tensorboard``."""

from __future__ import annotations

from torch.utils.tensorboard import SummaryWriter

from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer
from stlm.train.run_config import RunConfig


class Tracker(Callback):
    def __init__(self, folder: RunFolder, config: RunConfig) -> None:
        self._folder = folder.path / "tensorboard"

    def on_train_begin(self, trainer: Trainer) -> None:
        self._writer = SummaryWriter(str(self._folder))

    def on_log(self, trainer: Trainer, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            if "/" in name:
                self._writer.add_scalar(name, value, int(figures["step"]))

    def on_train_end(self, trainer: Trainer) -> None:
        self._writer.close()
