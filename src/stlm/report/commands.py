"""Commands for the reader of a report, ready to be typed: how the run was made, and what may come next."""

from __future__ import annotations

import dataclasses
import itertools

from stlm.config.files import read_table
from stlm.config.words import command
from stlm.errors import UserError
from stlm.train.cli_args import arguments_of
from stlm.train.folder import RunFolder
from stlm.train.run_config import LENGTHS, RunConfig

BUILT_IN = "world"
LONGER = 4  # times as long as the run


def how_to_run(folder: RunFolder, config: RunConfig) -> str:
    """The command that trains the same run once more, under another name."""
    return _train(folder, config, f"{folder.name}-again", None)


def next_steps(folder: RunFolder, config: RunConfig, prompt: str, preset: str | None = None) -> list[str]:
    """Commands that fit what was trained. preset: what the run began with; None finds the nearest."""
    write = command("generate", folder.name, prompt)
    if {source.strip() for source in config.data.source.split(",")} == {BUILT_IN}:
        own = dataclasses.replace(config, data=dataclasses.replace(config.data, source="FOLDER_OF_TEXT"))
        return [write, _train(folder, own, "mine", preset)]
    steps = [write, command("eval", folder.name, "--text", "OTHER_TEXT")]
    if _overfitted(folder):
        return steps
    return [*steps, _train(folder, _longer(config), f"{folder.name}-longer", preset)]


def _overfitted(folder: RunFolder) -> bool:
    """Whether weights of before the end were the better ones, so that more training is no advice."""
    found = read_table(folder.results) if folder.results.exists() else {}
    return found.get("weights_of_step") != found.get("steps") and "weights_of_step" in found


def _train(folder: RunFolder, config: RunConfig, name: str, preset: str | None) -> str:
    names = itertools.chain([name], (f"{name}-{n}" for n in itertools.count(2)))
    free = next(name for name in names if not folder.path.with_name(name).exists())
    try:
        arguments = arguments_of(config, preset)
    except UserError:  # the file may be gone since training began
        arguments = arguments_of(config)
    return command("train", *arguments, "--name", free)


def _longer(config: RunConfig) -> RunConfig:
    unit = next(unit for unit in LENGTHS if getattr(config.train, unit) is not None)
    limit = config.train.max_minutes and LONGER * config.train.max_minutes
    train = dataclasses.replace(config.train, **{unit: LONGER * getattr(config.train, unit), "max_minutes": limit})
    return dataclasses.replace(config, train=train)
