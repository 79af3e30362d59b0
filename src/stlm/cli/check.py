"""``stlm check``: checks of a user's own part, in small models that contain it."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table
from rich.text import Text

import stlm
from stlm.cli.console import Console
from stlm.cli.parser import first_name
from stlm.config.decode import field_types
from stlm.config.flags import parse
from stlm.config.slot import Slot, kinds, slot_of
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model import checks
from stlm.model.contract import contracts_kept
from stlm.model.model_config import ModelConfig
from stlm.model.small import SLOTS, Letters, random_model, small_config, small_part
from stlm.train.machine import one_thread

ROWS = torch.tensor([checks.tokens_of(checks.TEXT[:39], 256), [*checks.TEXT[30:], *checks.tokens_of(checks.TEXT[:12], 256)]])
ODD_BYTES = 300  # of each odd input
SHAPES = "results have the right shapes"


@dataclasses.dataclass(frozen=True)
class Changes:
    """The config that flags with --model change."""

    model: ModelConfig
    """The other parts and the sizes of the small models."""


def run(arguments: list[str]) -> int:
    name, flags = first_name("check", arguments)
    own, others = _split(flags)
    part = parse(_default(name), own, f"stlm check {name}")
    models, console = small_models(part, _changes(others, f"stlm check {name}")), Console(stderr=False)
    with console.status(Text(f"checking {name}")), one_thread():
        found = check(models)
    console.print(table(f"{name} in {len(models)} small models", found))
    for check_name, fault in found.items():
        if fault:
            console.say(f"{check_name}: {fault}")
    return 1 if any(found.values()) else 0


def _default(name: str) -> Slot:
    """``Config()`` of the module ``name``. UserError if the module isn't a part of a model."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"there is no module {name!r}; the name of the file mine/idea.py is mine.idea") from None
        raise UserError(f"{name}: {error}") from None
    except Exception as error:  # a user's own code may raise anything
        raise UserError(f"{name}: {_sentence(error)}") from None
    config = getattr(module, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Slot) and any(_places(config))):
        bases = ", ".join(dict.fromkeys(f"{slot.__module__}.{slot.__name__}" for slot in SLOTS.values()))
        raise UserError(f"{name}: it needs a class Config that derives from the base of a part of the model: {bases}")
    try:
        return config()
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: Config() has to work, with a default for every field: {error}") from None


def _places(config: type[Slot]) -> Iterator[tuple[str, str, str]]:
    """The places that such a part fits: a field of the model; or a field of it, a kind there, and a field of that kind."""
    slot = next((base for base in config.__mro__ if slot_of(base) is not None), None)
    for name, own in SLOTS.items():
        if own is slot:
            yield name, "", ""
        for kind in kinds(own):
            for inner, hint in field_types(type(small_part(name, kind))).items():
                if slot is not None and hint is slot:
                    yield name, kind, inner


def _split(flags: list[str]) -> tuple[list[str], list[str]]:
    """Flags of the part, and flags of the other parts of the model."""
    found: tuple[list[str], list[str]] = [], []
    side = 0
    for word in flags:
        if word.startswith("--"):
            side = int(word.startswith("--model."))
        found[side].append(word)
    return found


def _changes(flags: list[str], program: str) -> dict[str, Any]:
    """The fields of a small model that flags change."""
    usual = small_config({})
    changed = parse(Changes(usual), flags, program).model
    return {name: value for name, value in vars(changed).items() if value != getattr(usual, name)}


def small_models(part: Slot, changes: dict[str, Any]) -> list[ModelConfig]:
    """Small models with this part: one with the default parts for every place that it fits, and more, which together contain
    every kind of the other parts, as far as the kinds can be combined.
    """
    places: list[dict[str, Slot]] = []
    for name, kind, inner in _places(type(part)):
        whole: Any = small_part(name, kind) if inner else None
        places.append({name: dataclasses.replace(whole, **{inner: part}) if inner else part})
    found = [small_config(place, **changes) for place in places]
    free = {name: kinds(slot) for name, slot in SLOTS.items() if name not in changes}
    for n in range(max(map(len, free.values()), default=0)):
        row = {name: names[n % len(names)] for name, names in free.items()}
        found.append(_fitting(row, places[n % len(places)], changes))
    return list(dict.fromkeys(found))


def _fitting(row: dict[str, str], place: dict[str, Slot], changes: dict[str, Any]) -> ModelConfig:
    """The model with as many kinds of ``row`` as can be combined with the part."""
    for names in itertools.chain.from_iterable(itertools.combinations(row, n) for n in range(len(row), 0, -1)):
        try:
            return small_config({**{name: row[name] for name in names}, **place}, **changes)
        except UserError:
            continue
    return small_config(place, **changes)


def check(models: list[ModelConfig]) -> dict[str, str | None]:
    """By check: None if all models pass, else why the first failing model fails. After wrong shapes, no other check runs."""
    found: dict[str, str | None] = {}
    for name, look in CHECKS.items():
        found[name] = next((fault for config in models if (fault := _fault(look, config))), None)
        if name == SHAPES and found[name]:
            break
    return found


def _fault(look: Callable[[ModelConfig], None], config: ModelConfig) -> str | None:
    try:
        look(config)
    except Exception as error:  # a user's own code may raise anything
        usual, kinds_of = small_config({}), {name: getattr(config, name).kind for name in SLOTS}
        unusual = [f"{name} = {kind}" for name, kind in kinds_of.items() if kind in kinds(SLOTS[name])
                   and kind != getattr(usual, name).kind]
        return f"{_sentence(error)}; with {', '.join(unusual) or 'the default parts'}"
    return None


def _sentence(error: Exception) -> str:
    """An error in one line. If no check raised it: with its place, the last one that is neither in stlm nor in torch."""
    said = " ".join(str(error).split())
    if isinstance(error, (AssertionError, UserError)) and said:
        return said
    frames = traceback.extract_tb(error.__traceback__)
    packages = tuple(f"{Path(module.__file__).parent}{os.sep}" for module in (stlm, torch) if module.__file__)
    place = next((frame for frame in reversed(frames) if not frame.filename.startswith(packages)
                  and not frame.filename.startswith("<")), frames[-1])
    return f"{os.path.relpath(place.filename)}, line {place.lineno}: {type(error).__name__}: {said}"


def table(title: str, found: dict[str, str | None]) -> Table:
    """The result of each check."""
    out = Table("check", "result", title=title, box=box.SIMPLE_HEAD)
    for name in CHECKS:
        out.add_row(name, "not run" if name not in found else "failed" if found[name] else "passed",
                    style="bold" if found.get(name) else None)
    return out


def _shapes(config: ModelConfig) -> None:
    """In whole rows, in pieces with a cache, and in training."""
    model = random_model(config)
    with contracts_kept(model), torch.no_grad():
        model(Inputs(ROWS))
        cache = model.new_cache(len(ROWS))
        for piece in ROWS.split([7, 1, ROWS.shape[1] - 8], dim=1):
            model(Inputs(piece), cache)
        model.train()(Inputs(ROWS))


def _boundaries(config: ModelConfig) -> None:
    for training in (False, True):
        checks.check_boundaries_depend_on_the_past(random_model(config).train(training), ROWS, 256)


def _leaks(config: ModelConfig) -> None:
    checks.check_nothing_leaks(random_model(config), ROWS, 256)


def _leaks_in_training(config: ModelConfig) -> None:
    if checks.causal_in_training(config):
        checks.check_nothing_leaks(random_model(config).train(), ROWS, 256)


def _steps(config: ModelConfig) -> None:
    model = random_model(config)
    checks.check_one_at_a_time(model, ROWS[0])
    checks.check_steps_equal_whole(model, ROWS, seed=0)


def _odd_input(config: ModelConfig) -> None:
    model = random_model(config)
    for text in checks.ODD.values():
        checks.check_odd_input(model, text[:ODD_BYTES])


CHECKS: dict[str, Callable[[ModelConfig], None]] = {
    "a config survives JSON": checks.check_config_survives_json,
    SHAPES: _shapes,
    "boundaries depend on the past only": _boundaries,
    "causal": _leaks,
    "causal in training": _leaks_in_training,
    "probabilities add up to one": lambda config: checks.check_sums_to_one(random_model(config, Letters()), tokens=3, length=5),
    "the same in pieces and at once": _steps,
    "the same alone and in a batch": lambda config: checks.check_neighbours_do_not_matter(
        random_model(config), b"Another one, unfini", checks.TEXT),
    "every parameter gets a gradient": lambda config: checks.check_every_parameter_learns(
        lambda seed: random_model(config, seed=seed), ROWS),
    "odd input": _odd_input,
}
