"""Numbers and their ranges, in configs, files and flags of all verbs; lists and words in odd forms."""

from __future__ import annotations

import math
import typing

import pytest

from stlm.cli import main
from stlm.compare.recipe import Recipe
from stlm.config.bounds import Checked, Range, check, hints_of
from stlm.config.decode import decode
from stlm.config.files import load
from stlm.config.flags import parse
from stlm.config.slot import kinds, resolve, slot_of
from stlm.config.words import split_list, value_word
from stlm.errors import UserError
from stlm.evaluate.task import choose
from stlm.generate.sampling import Sampling
from stlm.model.copying import pointer
from stlm.model.depth import early_exit
from stlm.model.embedding import ngrams
from stlm.nn.block import attention
from stlm.optim import adamw, muon
from stlm.text.tokenizer import subword
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig, TrainConfig


def configs(cls: type, seen: set[type]) -> set[type]:
    """A config's class, and all classes of configs that may stand in it."""
    seen.add(cls)
    for name, hint in hints_of(cls).items():
        slot = slot_of(hint)
        inner = [resolve(slot, kind, name) for kind in kinds(slot)] if slot else [hint] if isinstance(hint, type) else []
        for other in inner:
            if issubclass(other, Checked) and other not in seen:
                configs(other, seen)
    return seen


ALL = sorted(configs(RunConfig, {Sampling}), key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")


def bare_numbers(hint: object) -> bool:
    """Whether a type has a number without a range."""
    if typing.get_origin(hint) is typing.Annotated:
        return not isinstance(typing.get_args(hint)[1], Range)
    return hint in (int, float) or any(bare_numbers(inner) for inner in typing.get_args(hint))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_every_number_has_a_range(cls):
    assert not [name for name, hint in hints_of(cls).items() if bare_numbers(hint)]


def numbers(cls: type) -> list[str]:
    return [name for name, hint in hints_of(cls).items() if "Range" in str(hint) and "tuple" not in str(hint)]


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls in ALL for name in numbers(cls)],
                         ids=lambda value: value if isinstance(value, str) else value.__module__)
def test_no_odd_number_passes(cls, name):
    for value in (math.nan, math.inf, -math.inf, -1e300, 2**64, -2**64, 1e301, True, "1"):
        with pytest.raises(ValueError, match=f"^{name} = "):
            cls(**{name: value})


@pytest.mark.parametrize(("make", "message"), [
    (lambda: adamw.Config(beta1=1.0), "beta1 = 1.0: it has to be below 1"),
    (lambda: adamw.Config(weight_decay=-0.1), "weight_decay = -0.1: it has to be 0 or more"),
    (lambda: adamw.Config(lr="atuo"), "lr = 'atuo': expected a number"), (lambda: adamw.Config(lr=None), "lr = None: expected"),
    (lambda: muon.Config(momentum=1.5), "momentum = 1.5: it has to be below 1"),
    (lambda: attention.Config(heads=0), "heads = 0: it has to be 1 or more"),
    (lambda: attention.Config(rope_base=-1.0), "rope_base = -1.0: it has to be 1 or more"),
    (lambda: ngrams.Config(orders=(2, 1)), "orders[1] = 1: it has to be 2 or more"),
    (lambda: early_exit.Config(exit_layers=(0,)), "exit_layers[0] = 0: it has to be 1 or more"),
    (lambda: pointer.Config(window=2**40), "window = 1099511627776: it has to be 1,048,576 or less"),
    (lambda: subword.Config(vocab_size=2**40), "it has to be 1,048,576 or less"),
    (lambda: TrainConfig(steps=1.5), "steps = 1.5: expected a whole number"),
    (lambda: TrainConfig(minutes=0), "minutes = 0: it has to be above 0"),
    (lambda: TrainConfig(steps=2, tasks="blimp"), "tasks = 'blimp': expected a list"),
    (lambda: Sampling(top_p=0), "top_p = 0: it has to be above 0"),
])
def test_configs_made_in_python_are_checked(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(("value", "message"), [
    ("optim = {lr = nan}", "optim: lr = nan: it has to be a finite number"),
    ("optim = {lr = 'atuo'}", "optim.lr: expected a number or auto, found 'atuo' (did you mean 'auto'?)"),
    ("optim = {lr = [1]}", "optim.lr: expected a number, found [1]"),
    ("optim = {lr = inf}", "optim: lr = inf: it has to be a finite number"),
    (f"train = {{grad_clip = 1{'0' * 400}}}", "train.grad_clip: expected a number"),
    (f"seed = 1{'0' * 5000}", "not a readable TOML file"),
    ("model = {dim = true}", "model.dim: expected a whole number, found True"),
    ("train = {steps = 2024-01-01}", "train.steps: expected a whole number"),
    ("model = {patching = {kind = 3}}", "model.patching.kind: expected the name of a kind"),
    ('data = {source = "a\\u0000b"}', "a text can't have a NUL byte"),
    ("model = {embedding = {kind = 'ngrams', orders = [2, -3]}}", "orders[1] = -3: it has to be 2 or more"),
    (f"seed = {'[' * 3000}", "not a readable TOML file"),
])
def test_files(tmp_path, value, message):
    path = tmp_path / "x.toml"
    path.write_text(f'base = "demo"\n{value}\n')
    with pytest.raises(UserError) as caught:
        load(str(path), PRESETS)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "0x10", "\uff11", " 5", "5 ", "1__0", "_1", "1e400", "", "--", "1,5",
                                  "5k", "\u0665", "9" * 5000])
@pytest.mark.parametrize("flag", ["--optim.lr", "--train.steps", "--seed", "--model.dim"])
def test_odd_forms_of_numbers_are_refused_alike(flag, word):
    with pytest.raises(UserError, match=flag.lstrip("-")):
        parse(RunConfig(), [f"{flag}={word}"], "stlm")


def test_forms_of_numbers():
    config = parse(RunConfig(), ["--train.steps", "1_000", "--seed", "+7", "--optim.lr", ".5", "--train.cooldown=5e-1"], "stlm")
    assert (config.train.steps, config.seed, config.optim.lr, config.train.cooldown) == (1000, 7, 0.5, 0.5)
    assert parse(RunConfig(), ["--seed", "1", "--seed=2"], "stlm").seed == 2  # the last one counts
    assert [value_word(number) for number in (2.0, 1234567, 2.5, 0.1)] == ["2", "1234567", "2.5", "0.1"]
    recipe = Recipe("q", "r", "steps", 12_345_678, {"a": "demo"}, "a")
    assert "12345678" in recipe.words("a", 0)


@pytest.mark.parametrize(("words", "entries"), [
    ("a,b", ["a", "b"]), ("a, b,", ["a", "b"]), (" a ,, b", ["a", "b"]), (",", []), ("", []), ("a b, c", ["a b", "c"])])
def test_lists(words, entries):
    assert split_list(words) == entries


def test_lists_of_flags():
    config = parse(RunConfig(), ["--train.tasks", "world, blimp,", "--train.trackers=tensorboard ,"], "stlm")
    assert (config.train.tasks, config.train.trackers) == (("world", "blimp"), ("tensorboard",))
    assert [task.kind for task in choose(" world, bits,")] == ["world", "bits"]
    for words in ("", ",", " , "):
        with pytest.raises(UserError, match="name at least one task"):
            choose(words)


@pytest.mark.parametrize(("words", "message"), [
    (["generate", "m", "x", "--temperature", "nan"], "--temperature: expected a number, found 'nan'"),
    (["generate", "m", "x", "--temperature=inf"], "--temperature: expected a number, found 'inf'"),
    (["generate", "m", "x", "--temperature", "1e9"], "--temperature 1e9: it has to be 1,000 or less"),
    (["generate", "m", "x", "--top-p", "nan"], "--top-p: expected a number"),
    (["generate", "m", "x", "--min-p", "1.5"], "--min-p 1.5: it has to be 1 or less"),
    (["generate", "m", "x", "--max-bytes", str(2**64)], "it has to be 1,000,000,000 or less"),
    (["generate", "m", "x", "--max-bytes", "1e3"], "--max-bytes: expected a whole number, found '1e3'"),
    (["generate", "m", "x", "--seed", "-1"], "--seed -1: it has to be 0 or more"),
    (["generate", "m", "x", "--seed", str(2**64)], "or less"),
    (["generate", "m", "x", "--speculate", "\uff16"], "--speculate: expected a whole number"),
    (["generate", "m", "x", "--draft-layer", "0"], "--draft-layer 0: it has to be 1 or more"),
    (["generate", "m", "x", "--exit-threshold", "-0.1"], "--exit-threshold -0.1: it has to be 0 or more"),
    (["generate", "m", "x", "--temp", "1"], "there is no flag --temp"),
    (["generate", "", "x"], "run: it can't be empty"),
    (["generate", "m", "x", "-y"], "a text that begins with a dash comes after --"),
    (["eval", "m", "--limit", "0"], "--limit 0: it has to be 1 or more"),
    (["eval", "m", "--limit", "1_0_"], "--limit: expected a whole number"),
    (["eval", "m", "--layer", "-1"], "--layer -1: it has to be 1 or more"),
    (["eval", "m", "--seed", str(2**63)], "or less"),
    (["eval", "m", "--tasks", ","], "name at least one task"),
    (["eval", "m", "--output="], "--output: it can't be empty"),
    (["compare", "r.py", "--jobs", "1e3"], "--jobs: expected a whole number"),
    (["compare", "r.py", "--jobs", str(2**64)], "it has to be 1,000 or less"),
    (["compare", "r.py", "--set", "novalue"], "--set novalue: it has to be NAME=VALUE"),
    (["zip", "m", "file", "-o", ""], "--output: it can't be empty"),
    (["patches", "m", "x" * 5000], "there is no run 'm'"),
    (["patches", "x" * 5000, "text"], "File name too long"),
    (["generate", "x" * 5000, "text"], "File name too long"),
    (["train", "x" * 5000 + ".toml"], "File name too long"),
    (["report", "a\0b"], "an argument can't have a NUL byte"),
    (["train", "--name", "x", "demo"], "'--name': a name has to stand here"),
    (["train", "demo", "--name", "x" * 101], "at most 100"),
    (["train", "demo", "--data="], "--data: a value has to follow"),
    (["train", "demo", "--train.steps", str(2**64)], "it has to be 1,000,000,000,000 or less"),
    (["train", "demo", "--model.layers", "1000000"], "layers = 1000000: it has to be 1,000 or less"),
    (["params", "demo", "--model.dim", "1000000000"], "dim = 1000000000: it has to be 1,048,576 or less"),
    (["train", "demo", "--data.megabytes", "1e300"], "megabytes = 1e+300: it has to be 1,000,000 or less"),
    (["train", "demo", "--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", str(2**40)], "or less"),
    (["params", "demo", "--"], "there is no flag --"),
    (["check", "stlm.model.patching.stride", "--stride", "0"], "stride = 0: it has to be 1 or more"),
])
def test_all_verbs(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_ends_of_ranges():
    half_open = Range(0, 1, above=True)
    assert [half_open.fault(number) is None for number in (0, 1e-300, 1, 1.1)] == [False, True, True, False]
    assert Range(0, 1, below=True).fault(1) == "it has to be below 1"
    check(dict[str, int], {"a": 1}, "x")
    with pytest.raises(ValueError, match=r"x\['a'\] = 1.5"):
        check(dict[str, int], {"a": 1.5}, "x")
    assert decode(RunConfig, {"train": {"cooldown": 0}}, RunConfig()).train.cooldown == 0.0
