"""``stlm publish``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from stlm.errors import UserError
from stlm.train.folder import MODELS, find_checkpoint
from stlm.train.publish import publish


def run(arguments: list[str]) -> int:
    if len(arguments) != 2:
        raise UserError("`stlm publish RUN NAME` takes a run and the name of a model")
    folder = MODELS / arguments[1] if Path(arguments[1]).name == arguments[1] else Path(arguments[1])
    size = publish(find_checkpoint(arguments[0]), folder)
    Console(stderr=True).print(f"{folder}: {size / 1e6:.1f} MB of weights; add a README.md that says what they were trained "
                               f"on\nnext:  stlm generate {folder.name} \"Once upon a time\"", highlight=False, soft_wrap=True)
    return 0
