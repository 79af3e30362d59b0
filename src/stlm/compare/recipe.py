"""A recipe: one Python file with a question, the runs that answer it, what is held equal, and the rule that decides."""

from __future__ import annotations

import dataclasses
import os
import re
import runpy
import shlex
import sys
import traceback
from pathlib import Path

from stlm.config.bounds import Checked, Count, Positive, Seed
from stlm.config.decode import typed
from stlm.config.flags import HELP
from stlm.config.suggest import did_you_mean
from stlm.config.words import value_word
from stlm.errors import UserError
from stlm.train.run_config import LENGTHS

PLACE = re.compile(r"\{([\w-]+)\}")  # in the arguments of an arm: the name of a run that it builds on


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """An experiment, described before it is run.

    question: the question to answer. rule: how the results decide, stated before the runs. equal, amount: what is equal for all
    runs: ``minutes`` of training, ``megabytes`` or ``epochs`` of text, ``teraflops`` of arithmetic, or ``steps``. arms: for
    each arm, the arguments of ``stlm train``. baseline: the arm with which the others are compared. against: further arms to
    compare with. every: flags of all arms. seeds: seeds of the runs of each arm. first: arguments of runs that arms build on,
    by name; each has its own length and one seed. texts: paths of further held-out texts to score, by name. tasks: benchmarks
    to run at the end, as in ``stlm eval``, each on at most ``tasks_limit`` items.

    Environment variables in arguments and paths (``$STLM_DATA``) are replaced by their values.
    """

    question: str
    rule: str
    equal: str
    amount: Positive
    arms: dict[str, str]
    baseline: str
    against: tuple[str, ...] = ()
    every: str = ""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    first: dict[str, str] = dataclasses.field(default_factory=dict)
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    tasks_limit: Count = 1000

    def __post_init__(self) -> None:
        for name, value in typed(self).items():
            object.__setattr__(self, name, value)
        try:
            super().__post_init__()
        except ValueError as error:
            raise UserError(str(error)) from None
        if self.equal not in LENGTHS:
            raise UserError(f"equal = {self.equal!r}: it has to be one of {', '.join(LENGTHS)}")
        if self.equal == "steps" and self.amount % 1:
            raise UserError(f"amount = {self.amount:g}: steps have to be a whole number")
        self._check_names()
        self._check_arguments()

    def _check_names(self) -> None:
        for field, names in (("arms", self.arms), ("seeds", self.seeds), ("against", self.against), ("first", self.first),
                             ("texts", self.texts)):
            if not names and field in ("arms", "seeds"):
                raise UserError(f"{field}: give at least one")
            for name in names:
                if [*names].count(name) > 1 or (field == "against" and name == self.baseline):
                    raise UserError(f"{field}: {name!r} is given twice")
                if not str(name).isprintable() or str(name) != str(name).strip() or not str(name):
                    raise UserError(f"{field}: {name!r}: a name has to be visible text, without spaces around it")
        for name in self.opponents:
            if name not in self.arms:
                raise UserError(f"baseline, against: {name!r}{did_you_mean(name, list(self.arms))} has to be one of the arms, "
                                f"{', '.join(self.arms)}")
        for name in self.first:
            if not re.fullmatch(r"[\w-]+", name):
                raise UserError(f"first: {name!r}: use letters, digits, dashes and underscores, so that arms can say {{NAME}}")

    def _check_arguments(self) -> None:
        """UserError, with the place, for arguments that can't be those of ``stlm train``."""
        fields = {"every": self.every} | {f"{field}[{name!r}]": words for field in ("arms", "first", "texts")
                                          for name, words in getattr(self, field).items()}
        for place, words in fields.items():
            try:
                split = shlex.split(words)
            except ValueError as error:
                raise UserError(f"{place}: {words!r}: {error}") from None
            if not split and place != "every":
                raise UserError(f"{place}: it is empty")
            if asked := {"--name", "--resume", *HELP} & {part.partition("=")[0] for part in split}:
                raise UserError(f"{place}: {min(asked)}: only flags that describe a run may stand here")
            if split and place.startswith("arms") and PLACE.search(split[0]):
                raise UserError(f"{place}: {split[0]}: this model isn't trained yet when arms are read; begin with a preset, "
                                f"and give --train.init-from {split[0]}")
            for name in PLACE.findall(words) if place.startswith("arms") else ():
                if name not in self.first:
                    raise UserError(f"{place}: {{{name}}}: there is no such run in first{did_you_mean(name, list(self.first))}")

    @property
    def opponents(self) -> tuple[str, ...]:
        """The arms with which all others are compared, the baseline first."""
        return (self.baseline, *self.against)

    def uses(self, arm: str) -> list[str]:
        """The names of the runs in ``first`` that an arm builds on."""
        return [name for name in self.first if name in PLACE.findall(self.arms[arm])]

    def words(self, arm: str, seed: int) -> list[str]:
        """The arguments of ``stlm train`` in one run of an arm. Flags of the arm come after those of all arms."""
        preset, *flags = _split(self.arms[arm])
        return [preset, *_split(self.every), f"--train.{self.equal}", value_word(self.amount), *flags, "--seed", str(seed)]

    def words_first(self, name: str) -> list[str]:
        """The same for a run in ``first``."""
        return _split(self.first[name])

    def text(self, name: str) -> str:
        """The path of a further text."""
        return _split(self.texts[name])[0]

    def unfilled(self, text: str) -> str:
        """``text`` with variables' names instead of their values, so that it is the same on every machine."""
        words = " ".join([self.every, *self.arms.values(), *self.first.values()])
        for name in sorted(set(re.findall(r"\$\{?(\w+)", words))):
            if value := os.environ.get(name):
                text = text.replace(value, f"${name}")
        return text


def _split(words: str) -> list[str]:
    split = [os.path.expandvars(part) for part in shlex.split(words)]
    for part in split:
        if unset := re.search(r"\$\{?(\w+)", part):
            raise UserError(f"this recipe needs the variable {unset[1]}, which is not set; set it and start again")
    return split


def load_recipe(path: Path) -> Recipe:
    """The ``RECIPE`` of a Python file. The file is run, and may import other files of its folder."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give a recipe, such as recipes/reading_bytes.py")
    sys.path.insert(0, str(path.parent))
    try:
        found = runpy.run_path(str(path)).get("RECIPE")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise UserError(f"{where}: {type(error).__name__}: {_first_line(str(error))}") from None
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(found, Recipe):
        raise UserError(f"{path}: it has to set RECIPE = Recipe(...), from stlm.compare.recipe")
    return found


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")
