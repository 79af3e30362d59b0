"""From the arguments of ``stlm train`` to the description of a run, and back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from stlm.config.decode import alternatives, decode, field_types
from stlm.config.files import load
from stlm.config.flags import parse
from stlm.config.help import Row
from stlm.config.slot import slot_of
from stlm.config.spread import take_fsdp, take_processes
from stlm.config.suggest import did_you_mean
from stlm.config.words import value_word
from stlm.errors import UserError
from stlm.train.finetune import check_text, finetuning_of
from stlm.train.folder import names_of_models, places_of
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig

SHORTHANDS = {"--data": "data.source", "--field": "data.field"}
TOML = ".toml"


def configure(name: str, flags: list[str], program: str, own: Sequence[Row] = ()) -> RunConfig:
    """The run that a preset or TOML file describes, or that goes on from another run, changed by flags. own: rows of the help
    for flags of the program itself.
    """
    config = apply(base_of(name), flags, program, own)
    check_text(config)
    return config


def base_of(name: str) -> RunConfig:
    """The run of a preset, a TOML file, or the name or folder of a trained model. A preset comes first."""
    if is_trained(name):
        return finetuning_of(name)
    if name not in PRESETS and not name.endswith(TOML):
        models = names_of_models()
        raise UserError(f"there is no preset {name!r}{did_you_mean(name, [*PRESETS, *models])}, and no model of that name; the "
                        f"presets are {', '.join(PRESETS)}, the models {', '.join(models) or 'still to be trained'}, or give a "
                        f"file that ends in {TOML}")
    return load(name, PRESETS)


def is_trained(name: str) -> bool:
    """Whether a word is the name or the folder of a trained model, not that of a preset or a file."""
    return name not in PRESETS and not name.endswith(TOML) and any(path.exists() for path in places_of(name))


def apply(config: RunConfig, flags: list[str], program: str, own: Sequence[Row] = ()) -> RunConfig:
    """``config`` changed by flags."""
    return parse(config, flags, program, SHORTHANDS, own)


def described(words: Sequence[str]) -> tuple[RunConfig, tuple[int, str]]:
    """The run that arguments of ``stlm train`` describe, the preset or the model first; and how they spread it over processes:
    their number, and whether each holds only a part of the weights.
    """
    processes, flags = take_processes(words[1:])
    sharded, flags = take_fsdp(flags)
    return configure(words[0], flags, f"stlm train {words[0]}"), (processes, sharded)


def arguments_of(config: RunConfig, name: str | None = None) -> list[str]:
    """The inverse of `configure`: arguments that describe ``config``. name: what to begin with; None takes the preset that
    needs the fewest flags, or the model that the run starts from.
    """
    if name is not None:
        return [name, *_flags(config, base_of(name))]
    found = [[preset, *_flags(config, make())] for preset, make in PRESETS.items()]
    with contextlib.suppress(UserError):  # the other run may be gone
        if config.train.init_from is not None and is_trained(config.train.init_from):
            found.append([config.train.init_from, *_flags(config, base_of(config.train.init_from))])
    return min(found, key=len)


def _flags(config: RunConfig, base: RunConfig) -> list[str]:
    short = {path: flag for flag, path in SHORTHANDS.items()}
    out: list[str] = []
    for path, words in _changes(config, base, ""):
        flag = short.get(path, f"--{path.replace('_', '-')}")
        out += [f"{flag}={words[0]}"] if words and words[0].startswith("--") else [flag, *words]
    return out


def _changes(config: Any, base: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """The fields in which ``config`` differs from ``base``, with the words of their flags. A kind comes before its fields."""
    cleared = {name for group in alternatives(type(config)) for name in group  # by the flag of another field of the group
               if getattr(config, name) is None and any(getattr(config, other) is not None for other in group)}
    for name, hint in field_types(type(config)).items():
        value, known, path = getattr(config, name), getattr(base, name), f"{prefix}{name}"
        if value == known or name in cleared:
            continue
        if slot_of(hint) is not None and type(value) is not type(known):
            yield path, [value.kind]
            known = decode(type(value), {}, check=False)
        if dataclasses.is_dataclass(value):
            yield from _changes(value, known, f"{path}.")
        else:
            yield path, [value_word(item) for item in value] if isinstance(value, tuple) else [value_word(value)]
