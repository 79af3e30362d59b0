"""The runs of a recipe and their names. A name stands for one description, so all recipes with the same run use it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from stlm.compare.job import Run
from stlm.compare.recipe import PLACE, Recipe
from stlm.config.decode import non_default
from stlm.config.words import command
from stlm.errors import UserError
from stlm.evaluate.task import choose
from stlm.train.cli_args import described


@dataclasses.dataclass(frozen=True)
class Plan:
    """arguments: those of ``stlm compare``, the recipe's path first. first: runs that others build on. arms: the runs of each
    arm, by seed.
    """

    arguments: tuple[str, ...]
    recipe: Recipe
    first: dict[str, Run]
    arms: dict[str, dict[int, Run]]

    @property
    def name(self) -> str:
        """The name of the comparison, and of its folder."""
        return Path(self.arguments[0]).stem

    @property
    def command(self) -> str:
        """The command that carries it out."""
        return command("compare", *self.arguments)

    def runs(self) -> Iterator[tuple[str, int, Run]]:
        """Arm, seed and run. All arms have one seed before any has the next, so that an incomplete record is fair too."""
        for seed in self.recipe.seeds:
            for arm, runs in self.arms.items():
                yield arm, seed, runs[seed]

    def places(self, run: Run) -> list[tuple[str, int]]:
        """The arms and seeds that a run stands for. Arms with the same description have the same run."""
        return [(arm, seed) for arm, seed, other in self.runs() if other.name == run.name]

    def label(self, run: Run) -> str:
        """A run as the recipe calls it: by its arm and seed, or by its name in ``first``."""
        if places := self.places(run):
            return f"{' = '.join(arm for arm, _ in places)}, seed {places[0][1]}"
        return next(title for title, other in self.first.items() if other.name == run.name)


def make_plan(arguments: Sequence[str], recipe: Recipe, threads: int) -> Plan:
    """The runs of a recipe. threads: number of threads of each run. If the length is in minutes, the result depends on it, so
    it is part of the run's name. How a run is spread over processes always is.

    Raises UserError if an arm's arguments aren't valid.
    """
    def run(place: str, words: list[str], texts: dict[str, str], after: list[str], tasks: list[str]) -> Run:
        try:
            config, spread = described(words)
        except UserError as error:
            raise UserError(f"{arguments[0]}, {place}: {error}") from None
        made_of = [non_default(config), threads if config.train.by_clock else None]
        if spread[0] > 1:
            made_of.append(spread)
        digest = hashlib.sha256(recipe.unfilled(json.dumps(made_of, sort_keys=True)).encode()).hexdigest()[:8]
        return Run(f"{Path(words[0]).stem}-{digest}-s{config.seed}", words, texts, after, tasks, recipe.tasks_limit)

    texts = {title: recipe.text(title) for title in recipe.texts}
    tasks = [task.kind for task in choose(",".join(recipe.tasks))] if recipe.tasks else []
    first = {title: run(f"first[{title!r}]", recipe.words_first(title), {}, [], []) for title in recipe.first}
    names = {title: found.name for title, found in first.items()}
    arms = {arm: {seed: run(f"arms[{arm!r}]", [_filled(part, names) for part in recipe.words(arm, seed)], texts,
                            [names[title] for title in recipe.uses(arm)], tasks) for seed in recipe.seeds}
            for arm in recipe.arms}
    return Plan(tuple(arguments), recipe, first, arms)


def _filled(part: str, names: dict[str, str]) -> str:
    return PLACE.sub(lambda match: names.get(match[1], match[0]), part)
