"""From the arguments of ``stlm train`` to the description of a run."""

from __future__ import annotations

from collections.abc import Sequence

from stlm.config.files import load
from stlm.config.flags import parse
from stlm.config.help import Row
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig

SHORTHANDS = {"--data": "data.source", "--field": "data.field"}


def configure(name: str, flags: list[str], program: str, own: Sequence[Row] = ()) -> RunConfig:
    """The run that a preset or TOML file describes, changed by flags. own: rows of the help for flags of the program itself."""
    return apply(load(name, PRESETS), flags, program, own)


def apply(config: RunConfig, flags: list[str], program: str, own: Sequence[Row] = ()) -> RunConfig:
    """``config`` changed by flags."""
    return parse(config, flags, program, SHORTHANDS, own)
