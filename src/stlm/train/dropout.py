"""Dropout in training, with rates that may change (Dropout schedules, arXiv 2409.05423)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from torch import nn

from stlm.config.bounds import Checked, ShareBelowOne
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.nn.dropout import Dropout, Noise
from stlm.nn.stack import Stack
from stlm.schedule import ScheduleConfig, between, constant


@dataclasses.dataclass(frozen=True)
class DropoutConfig(Checked):
    """Dropout in training. It helps where text is read many times."""

    embedding: ShareBelowOne = 0.0
    """Share of the numbers of the embedded tokens that are set to zero."""
    residual: ShareBelowOne = 0.0
    """Share of the numbers that each layer adds which are set to zero."""
    attention: ShareBelowOne = 0.0
    """Share of the attention weights that are set to zero. Layers that share their weights drop the same ones."""
    layer: ShareBelowOne = 0.0
    """Probability with which a row skips the last layer of a stack (stochastic depth). Earlier layers have less, in proportion
    to their number."""
    schedule: ScheduleConfig = constant.Config()
    """How all of these change in training: `early` has them at the start only, `triangle` mostly in the middle."""

    @property
    def any(self) -> bool:
        """Whether anything is dropped."""
        return max(self.embedding, self.residual, self.attention, self.layer) > 0


def add_dropout(model: LM, config: DropoutConfig) -> None:
    """Let a model drop out in training. Its weights stay as they are, and so does what it computes otherwise."""
    if not config.any:
        return
    model.noise = Noise(functools.partial(between, config.schedule, 1.0, 0.0))
    if config.embedding:
        model.embedding_dropout = Dropout(model.noise, config.embedding, "embedding")
    for name, stack in _stacks(model):
        n = len(stack.blocks)
        stack.dropouts = nn.ModuleList(nn.Sequential(
            Dropout(model.noise, config.residual, f"{name} {depth}"),
            Dropout(model.noise, config.layer * (depth + 1) / n, f"{name} {depth} whole", whole=True)) for depth in range(n))
    if config.attention:
        parts = [(name, part) for name, part in model.named_modules() if hasattr(part, "weights_dropout")]
        if not parts:
            raise UserError("train.dropout.attention: this model has no attention; set it to 0")
        for name, part in parts:
            part.weights_dropout = Dropout(model.noise, config.attention, name)
    model.train(model.training)  # the new parts too


def _stacks(model: LM) -> Iterator[tuple[str, Stack]]:
    for name, stack in (("encoder", model.encoder), ("trunk", model.trunk), ("decoder", model.decoder)):
        if len(stack.blocks):
            yield name, stack
