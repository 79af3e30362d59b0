"""What is wrong in a recipe is said in one line, with its place, before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stlm.compare.plan import make_plan
from stlm.compare.recipe import Recipe, load_recipe
from stlm.compare.record import UNITS
from stlm.errors import UserError
from stlm.train.cli_args import configure
from stlm.train.run_config import LENGTHS

IMPORT = "from stlm.compare.recipe import Recipe\n"


@pytest.mark.parametrize(("text", "message"), [
    ("", "it has to set RECIPE"),
    ("import nothing_of_this_name", "ModuleNotFoundError"),
    (IMPORT + "RECIPE = Recipe('?', '!', 'hours', 1, {'a': 'demo'}, 'a')", "one of steps, minutes"),
    (IMPORT + "RECIPE = Recipe('?', '!', 'steps', 1, {'a': 'demo'}, 'b')", "one of the arms"),
])
def test_faults_of_recipes(tmp_path, text, message):
    path = tmp_path / "recipe.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_faults_before_anything_runs(monkeypatch):
    with pytest.raises(UserError, match="no such file"):
        load_recipe(Path("nowhere.py"))
    monkeypatch.delenv("STLM_DATA", raising=False)
    recipe = Recipe("?", "!", "steps", 1, {"a": "demo --data $STLM_DATA/x"}, "a")
    with pytest.raises(UserError, match="the variable STLM_DATA"):
        make_plan(["x.py"], recipe, 1)
    with pytest.raises(UserError, match="no flag --model.layer"):
        make_plan(["x.py"], dataclasses.replace(recipe, arms={"a": "demo --model.layer 3"}), 1)


def test_arms_of_several_processes():
    """How a run is spread is part of its name, so such arms are runs of their own; a wrong number is told."""
    arms = {"one": "demo", "also one": "demo --processes 1", "two": "demo --processes 2",
            "parts": "demo --processes 2 --fsdp on"}
    recipe = Recipe("?", "!", "steps", 1, arms, "one", seeds=(0,))
    names = {arm: runs[0].name for arm, runs in make_plan(["x.py"], recipe, 1).arms.items()}
    assert names["one"] == names["also one"] and len(set(names.values())) == 3
    for words, message in (("demo --processes 0", "--processes"), ("demo --fsdp maybe", "auto, on, off")):
        with pytest.raises(UserError, match=message):
            make_plan(["x.py"], dataclasses.replace(recipe, arms={"one": words}), 1)


GOOD = {"question": "?", "rule": "!", "equal": "steps", "amount": 3,
        "arms": {"a": "demo", "b": "demo --seed 1"}, "baseline": "a"}


@pytest.mark.parametrize(("change", "message"), [
    ({"seeds": 2}, "seeds: expected a list, found 2; a list of one is [2]"),
    ({"seeds": "012"}, "seeds: expected a list, found '012'"),
    ({"seeds": (0, 1.5)}, "seeds[1]: expected a whole number, found 1.5"),
    ({"seeds": (True,)}, "seeds[0]: expected a whole number, found True"),
    ({"seeds": (3, 4, 3)}, "seeds: 3 is given twice"),
    ({"seeds": (0, -1)}, "seeds[1] = -1: it has to be 0 or more"),
    ({"seeds": (2**64,)}, "it has to be 9,223,372,036,854,775,807 or less"),
    ({"seeds": ()}, "seeds: give at least one"),
    ({"amount": float("nan")}, "amount = nan: it has to be a finite number"),
    ({"amount": float("inf")}, "amount = inf: it has to be a finite number"),
    ({"amount": 0}, "amount = 0.0: it has to be above 0"),
    ({"amount": "3"}, "amount: expected a number, found '3'"),
    ({"amount": 2.5}, "amount = 2.5: steps have to be a whole number"),
    ({"equal": "minute"}, "equal = 'minute': it has to be one of"),
    ({"equal": None}, "equal: expected a text, found None"),
    ({"question": 3}, "question: expected a text, found 3"),
    ({"arms": {}}, "arms: give at least one"),
    ({"arms": ["demo"]}, "arms: expected a table of names and values, found ['demo']"),
    ({"arms": {"a": ["demo"]}}, "arms['a']: expected a text, found ['demo']"),
    ({"arms": {"a": ""}}, "arms['a']: it is empty"),
    ({"arms": {1: "demo"}}, "arms: expected a text, found 1"),
    ({"arms": {"a": "demo", "a\nb": "demo"}}, "arms: 'a\\nb': a name has to be visible text"),
    ({"arms": {"a": "demo", " ": "demo"}}, "arms: ' ': a name has to be visible text"),
    ({"arms": {"a": "demo", "\ud800": "demo"}}, "a name has to be visible text"),
    ({"arms": {"a": 'demo --data "my notes'}}, "arms['a']: 'demo --data \"my notes': No closing quotation"),
    ({"arms": {"a": "demo --help"}}, "arms['a']: --help: only flags that describe a run may stand here"),
    ({"arms": {"a": "demo --name=x"}}, "arms['a']: --name: only flags that describe a run"),
    ({"every": "--resume"}, "every: --resume: only flags that describe a run"),
    ({"every": ("--seed", "1")}, "every: expected a text, found ('--seed', '1')"),
    ({"against": "b"}, "against: expected a list, found 'b'; a list of one is ['b']"),
    ({"against": ("b", "b")}, "against: 'b' is given twice"),
    ({"against": ("a",)}, "against: 'a' is given twice"),
    ({"against": ("B",)}, "baseline, against: 'B'"),
    ({"baseline": "c"}, "'c' has to be one of the arms, a, b"),
    ({"first": ["reader"]}, "first: expected a table of names and values"),
    ({"first": {"my reader": "reader"}}, "first: 'my reader': use letters, digits"),
    ({"first": {"reader": "reader"}, "arms": {"a": "demo --model.patching.run {raeder}"}},
     "arms['a']: {raeder}: there is no such run in first (did you mean 'reader'?)"),
    ({"texts": {"other": 3}}, "texts['other']: expected a text, found 3"),
    ({"texts": {"other": ""}}, "texts['other']: it is empty"),
])
def test_each_field_is_checked(change, message):
    with pytest.raises(UserError) as caught:
        Recipe(**{**GOOD, **change})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_python_offers_is_taken():
    """Lists, ranges and whole numbers do as well, and names may be in any script."""
    recipe = Recipe(**{**GOOD, "seeds": range(2), "against": ["$x$ <b>[red]"],
                       "arms": {"a": "demo", "$x$ <b>[red]": "demo --seed 1", "Wörter 語": "demo --seed 2"}})
    assert (recipe.seeds, recipe.against, recipe.amount) == ((0, 1), ("$x$ <b>[red]",), 3.0)


@pytest.mark.parametrize(("equal", "amount", "word"), [
    ("steps", 2_000_000, "2000000"), ("steps", 12, "12"), ("minutes", 0.3, "0.3"), ("megabytes", 12.3456789, "12.3456789"),
    ("teraflops", 1e-5, "1e-05"), ("megabytes", 1e6, "1000000")])
def test_the_amount_is_exact(equal, amount, word):
    """What the recipe says is what is trained, to the last digit."""
    words = dataclasses.replace(Recipe(**GOOD), equal=equal, amount=amount).words("a", 0)
    assert words[words.index(f"--train.{equal}") + 1] == word
    assert getattr(configure(words[0], words[1:], "").train, equal) == amount


@pytest.mark.parametrize(("arm", "message"), [
    ("demo --model.layer 3", "there is no flag --model.layer"),
    ("dmo", "there is no preset 'dmo' (did you mean 'demo'?)"),
    ("demo --model.dim -4", "dim = -4"),
    ("demo --optim.lr fast", "optim.lr: expected a number or auto, found 'fast'"),
    ("demo --seed 1 2", "--seed 1 2: only one value may follow"),
    ("nowhere.toml", "nowhere.toml: there is no such file"),
])
def test_a_bad_arm_is_named(arm, message):
    recipe = Recipe(**{**GOOD, "arms": {"a": "demo", "the other": arm}})
    with pytest.raises(UserError) as caught:
        make_plan(["my recipe.py", "--jobs", "2"], recipe, 1)
    assert str(caught.value).startswith("my recipe.py, arms['the other']: ") and message in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("\n\nRECIPE = Recipe()", "line 3: NameError"),
    ("RECIPE = (", "SyntaxError"),
    (IMPORT + "Recipe('?', '!', 'steps', 1, {'a': 'demo'}, 'a', seed=3)", "line 2: TypeError"),
    ("raise ValueError('one\\ntwo')", "line 1: ValueError: one"),
    ("import sys\nsys.exit('enough')", "line 2: SystemExit: enough"),
    (IMPORT + "RECIPE = Recipe('?', '!', 'steps', 1, {'a': 'demo'}, 'a', seeds=2)", "recipe.py: seeds: expected a list"),
])
def test_a_file_that_fails_says_where(tmp_path, text, message):
    path = tmp_path / "recipe.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_every_length_has_its_words():
    """A comparison at any length can be recorded."""
    assert UNITS.keys() == set(LENGTHS)
