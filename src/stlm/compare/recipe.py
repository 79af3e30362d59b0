"""A recipe: one Python file with a question, the runs that answer it, what is held equal, and the rule that decides."""

from __future__ import annotations

import dataclasses
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

from stlm.config.bounds import Checked, Positive, Seed
from stlm.config.words import number_word
from stlm.errors import UserError
from stlm.train.run_config import LENGTHS


@dataclasses.dataclass(frozen=True)
class Recipe(Checked):
    """An experiment, described before it is run.

    question: the question to answer. rule: how the results decide, stated before the runs. equal, amount: what is equal for all
    runs: ``minutes`` of training, ``megabytes`` of text, ``teraflops`` of arithmetic, or ``steps``. arms: for each arm, the
    arguments of ``stlm train``. baseline: the arm with which the others are compared. against: further arms to compare with.
    every: flags of all arms. seeds: seeds of the runs of each arm. first: arguments of runs that arms build on, by name; each
    has its own length and one seed. texts: paths of further held-out texts to score, by name.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.equal not in LENGTHS:
            raise ValueError(f"equal = {self.equal!r}: it has to be one of {', '.join(LENGTHS)}")
        for name in self.opponents:
            if name not in self.arms:
                raise ValueError(f"baseline, against: {name!r} has to be one of the arms, {', '.join(self.arms)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: give at least one, and each only once")
        for name, words in {**self.arms, **self.first, **self.texts}.items():
            if not words.strip():
                raise ValueError(f"{name}: it is empty; give the words that would follow `stlm train`, or a text's path")

    @property
    def opponents(self) -> tuple[str, ...]:
        """The arms with which all others are compared, the baseline first."""
        return (self.baseline, *self.against)

    def uses(self, arm: str) -> list[str]:
        """The names of the runs in ``first`` that an arm builds on."""
        return [name for name in self.first if f"{{{name}}}" in self.arms[arm]]

    def words(self, arm: str, seed: int) -> list[str]:
        """The arguments of ``stlm train`` in one run of an arm. Flags of the arm come after those of all arms."""
        preset, *flags = _split(self.arms[arm])
        return [preset, *_split(self.every), f"--train.{self.equal}", number_word(self.amount), *flags, "--seed", str(seed)]

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
    try:
        split = [os.path.expandvars(word) for word in shlex.split(words)]
    except ValueError as error:
        raise UserError(f"this recipe has the words {words!r}, which are no command line: {error}") from None
    for word in split:
        if unset := re.search(r"\$\{?(\w+)", word):
            raise UserError(f"this recipe needs the variable {unset[1]}, which is not set; set it and start again")
    return split


def load_recipe(path: Path) -> Recipe:
    """The ``RECIPE`` of a Python file. The file is run, and may import other files of its folder."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give a recipe, such as recipes/reading_bytes.py")
    sys.path.insert(0, str(path.parent))
    try:
        found = runpy.run_path(str(path)).get("RECIPE")
    except UserError:
        raise
    except Exception as error:  # the user's file may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(found, Recipe):
        raise UserError(f"{path}: it has to set RECIPE = Recipe(...), from stlm.compare.recipe")
    return found
