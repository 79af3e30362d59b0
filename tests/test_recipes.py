"""The recipes that lie here can be run, and are fair where they say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from stlm.compare.recipe import Recipe, load_recipe
from stlm.model.count import count
from stlm.model.lm import LM
from stlm.train.cli_args import configure
from stlm.train.run_config import RunConfig

ROOT = Path(__file__).parent.parent
PROGRAMS = ("lease.py",)  # lie beside the recipes, and have a test of their own
RECIPES = [path for path in sorted((ROOT / "recipes").glob("*.py")) if path.name not in PROGRAMS]


@pytest.fixture
def at_home(monkeypatch):
    """Recipes name parts and text by where they lie from the project's folder; no text is read here."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("STLM_DATA", "elsewhere")


def config_of(recipe: Recipe, arm: str) -> RunConfig:
    """The description of an arm's runs."""
    preset, *flags = (re.sub(r"\{(\w+)\}", r"\1", word) for word in recipe.words(arm, 0))
    return configure(preset, flags, "stlm train")


def sizes(recipe: Recipe) -> dict[str, int]:
    """Unique parameters of each arm."""
    found = {}
    for arm in recipe.arms:
        config = config_of(recipe, arm)
        with torch.device("meta"):
            found[arm] = count(LM(config.model, config.data.tokenizer.outline())).unique
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_arm_is_a_run(path, at_home):
    recipe = load_recipe(path)
    assert all(config_of(recipe, arm).model.dim > 0 for arm in recipe.arms)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_arm_is_a_model(path, at_home):
    assert min(sizes(load_recipe(path)).values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reading_bytes", "reading_longer"])
def test_arms_have_as_many_parameters(name, at_home):
    found = sizes(load_recipe(ROOT / "recipes" / f"{name}.py"))
    assert all(1.9e6 < size < 2.1e6 for size in found.values()), found
