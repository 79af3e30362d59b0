"""``stlm publish``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stlm.cli.console import Console
from stlm.cli.outputs import FORCE
from stlm.cli.parser import first_name
from stlm.compress import publish, write_compressed
from stlm.config.flags import parse
from stlm.config.words import command
from stlm.model.compression import CompressionConfig
from stlm.train.folder import MODELS, find_checkpoint


@dataclasses.dataclass(frozen=True)
class PublishConfig:
    """How a model is written."""

    compression: CompressionConfig = publish.Config()
    """How the weights are stored."""


def run(arguments: list[str]) -> int:
    force, arguments = FORCE in arguments, [argument for argument in arguments if argument != FORCE]
    run_name, rest = first_name("publish", arguments)
    name, flags = first_name("publish", rest)
    given = parse(PublishConfig(), flags, "stlm publish RUN NAME")
    folder = MODELS / name if Path(name).name == name else Path(name)
    size = write_compressed(find_checkpoint(run_name), folder, given.compression, force)
    Console().say(f"{folder}: {size / 1e6:.1f} MB of weights; add a README.md that says what they were trained on\n"
                  f"next:  {command('generate', folder.name, 'Once upon a time')}")
    return 0
