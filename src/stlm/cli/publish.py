"""``stlm publish``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from stlm.cli.outputs import FORCE
from stlm.compress import publish, write_compressed
from stlm.config.flags import parse
from stlm.errors import UserError
from stlm.model.compression import CompressionConfig
from stlm.train.folder import MODELS, find_checkpoint


@dataclasses.dataclass(frozen=True)
class PublishConfig:
    """How a model is written."""

    compression: CompressionConfig = publish.Config()
    """How the weights are stored."""


def run(arguments: list[str]) -> int:
    force, arguments = FORCE in arguments, [argument for argument in arguments if argument != FORCE]
    names = [argument for argument in arguments[:2] if not argument.startswith("-")]
    given = parse(PublishConfig(), arguments[len(names):], "stlm publish RUN NAME")
    if len(names) != 2:
        raise UserError("`stlm publish RUN NAME` takes a run and the name of a model")
    folder = MODELS / names[1] if Path(names[1]).name == names[1] else Path(names[1])
    size = write_compressed(find_checkpoint(names[0]), folder, given.compression, force)
    Console(stderr=True).print(f"{folder}: {size / 1e6:.1f} MB of weights; add a README.md that says what they were trained "
                               f"on\nnext:  stlm generate {folder.name} \"Once upon a time\"", highlight=False, soft_wrap=True)
    return 0
