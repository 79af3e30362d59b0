"""The runs of a recipe and their names. A name stands for one description, so all recipes with the same run use it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from stlm.compare.job import Run
from stlm.compare.recipe import Recipe
from stlm.config.decode import non_default
from stlm.train.cli_args import configure


@dataclasses.dataclass(frozen=True)
class Plan:
    """first: runs that others build on. arms: the runs of each arm, by seed."""

    name: str
    recipe: Recipe
    first: dict[str, Run]
    arms: dict[str, dict[int, Run]]

    def runs(self) -> Iterator[tuple[str, int, Run]]:
        """Arm, seed and run. All arms have one seed before any has the next, so that an incomplete record is fair too."""
        for seed in self.recipe.seeds:
            for arm, runs in self.arms.items():
                yield arm, seed, runs[seed]


def make_plan(name: str, recipe: Recipe, threads: int) -> Plan:
    """The runs of a recipe. threads: number of threads of each run. If the length is in minutes, the result depends on it, so
    it is part of the run's name.

    Raises UserError if an arm's arguments aren't valid.
    """
    def run(title: str, words: list[str], texts: dict[str, str], after: list[str]) -> Run:
        config = configure(words[0], words[1:], f"{name}, {title}: stlm train {words[0]}")
        made_of = [non_default(config), threads if config.train.minutes is not None else None]
        digest = hashlib.sha256(recipe.unfilled(json.dumps(made_of, sort_keys=True)).encode()).hexdigest()[:8]
        return Run(f"{Path(words[0]).stem}-{digest}-s{config.seed}", words, texts, after)

    texts = {title: recipe.text(title) for title in recipe.texts}
    first = {title: run(title, recipe.words_first(title), {}, []) for title in recipe.first}
    names = {title: found.name for title, found in first.items()}
    arms = {arm: {seed: run(arm, [_filled(word, names) for word in recipe.words(arm, seed)], texts,
                            [names[title] for title in recipe.uses(arm)]) for seed in recipe.seeds}
            for arm in recipe.arms}
    return Plan(name, recipe, first, arms)


def _filled(word: str, names: dict[str, str]) -> str:
    return re.sub(r"\{([\w-]+)\}", lambda match: names.get(match[1], match[0]), word)
