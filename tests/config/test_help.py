"""Help is complete: every field, every slot with its kinds, and nothing that isn't accepted."""

from __future__ import annotations

import dataclasses
import pkgutil
import re
import subprocess
import sys
from typing import ClassVar, Literal

import pytest

from stlm.cli import main
from stlm.cli.usage import SLOTS, TRAIN_FLAGS, VERBS, verb_usage
from stlm.config.decode import field_types
from stlm.config.flags import parse
from stlm.config.help import columns, docstrings, fields_of, page
from stlm.config.slot import kinds, kinds_in, resolve, slot_of
from stlm.model.patching import PatchingConfig, whitespace
from stlm.train import trackers
from stlm.train.cli_args import SHORTHANDS
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig, TrainConfig


def rows(text):
    """Each flag of a page, with all that is said about it on one line."""
    found, flag = {}, None
    for line in text.splitlines():
        if match := re.match(r"  (--\S+)(.*)", line):
            flag = match[1]
            found[flag] = match[2]
        elif flag and line.startswith("   "):
            found[flag] += f" {line.strip()}"
        else:
            flag = None
    return {flag: " ".join(said.split()) for flag, said in found.items()}


def walk(config, path="--"):
    """All dataclass fields of a config, found without the code that makes the help."""
    for name, hint in field_types(type(config)).items():
        value, flag = getattr(config, name), f"{path}{name.replace('_', '-')}"
        if slot_of(hint) is not None or not dataclasses.is_dataclass(value):
            yield flag, type(config), name, hint, value
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{flag}.")


@pytest.mark.parametrize("preset", PRESETS)
def test_help_of_train_lists_every_field_and_every_kind(capsys, preset):
    with pytest.raises(SystemExit) as stop:
        main(["train", preset, "--help"])
    assert stop.value.code == 0
    shown = rows(capsys.readouterr().out)
    fields = list(walk(PRESETS[preset]()))
    own = {"--name", "--resume", "--device", "--processes", "--fsdp", "--threads"}
    assert {*own, *SHORTHANDS, *(flag for flag, *_ in fields)} == set(shown)
    for flag, owner, name, hint, value in fields:
        assert docstrings(owner)[name].rstrip(".").replace(" ", "") in shown[flag].replace(" ", ""), flag
        if slot_of(hint):
            assert f"{', '.join(kinds(slot_of(hint)))} ({value.kind})" in shown[flag], flag
    assert shown["--model.patching"].startswith("KIND ")


@pytest.mark.parametrize("preset", PRESETS)
def test_what_help_lists_is_accepted(preset):
    """Each flag with the value that it has, as help shows it."""
    config, words = PRESETS[preset](), []
    for field in fields_of(config):
        value = field.value.kind if field.slot else field.value
        if value is not None:
            words += [field.flag, *(map(str, value) if isinstance(value, tuple) else [repr(value).strip("'")])]
    assert parse(config, words, "stlm") == config


def test_help_follows_the_chosen_kinds(capsys):
    with pytest.raises(SystemExit):
        main(["params", "demo", "--model.patching", "stride", "--optim=muon", "--help"])
    shown = rows(capsys.readouterr().out)
    assert "--model.patching.stride" in shown and "--optim.momentum" in shown and "--model.patching.cap" not in shown
    assert "--name" not in shown
    assert main(["train", "demo", "--model.patching", "nine", "--help"]) == 2
    assert "there is no kind 'nine'" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Inner:
    """A table."""

    alternatives: ClassVar = [("long", "far")]

    long: int | None = 3
    """How long."""
    far: float | None = None
    """How far, in ``km``, and a text
    of two lines."""
    colour: Literal["red", "blue"] = "red"
    """The colour."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""
    on: bool = False
    """Whether."""


@dataclasses.dataclass(frozen=True)
class Outer:
    """All."""

    inner: Inner = Inner()
    """The table."""
    cut: PatchingConfig = whitespace.Config()
    """Where to cut."""


def test_a_page_is_derived_from_the_dataclasses_alone():
    text = page(Outer(), "prog", [("--own X", "of its own")], {"--short": "inner.long"}, width=90)
    shown = rows(text)
    assert shown["--own"] == "X of its own"
    assert shown["--short"] == "N short for --inner.long"
    assert shown["--inner.long"] == "N How long. (3)"
    assert shown["--inner.far"] == "X How far, in `km`, and a text of two lines. (not set)"
    assert shown["--inner.colour"] == "red|blue The colour. (red)"
    assert shown["--inner.sizes"] == "N ... Sizes. (1 2)"
    assert shown["--inner.on"] == "true|false Whether. (false)"
    assert shown["--cut"] == f"KIND Where to cut: {', '.join(kinds(PatchingConfig))} (whitespace)"
    assert shown["--cut.cap"].endswith("(16)")
    assert "Give one of --inner.long, --inner.far" in text and "cut = whitespace: " in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_pages_keep_to_the_width(width):
    for make in (PRESETS["demo"], PRESETS["paper"]):
        text = page(make(), "stlm train demo", TRAIN_FLAGS, SHORTHANDS, width)
        assert max(map(len, (line for line in text.splitlines() if not line.startswith("  --")))) <= width
        assert "\x1b" not in text and "\xa0" not in text


def test_columns():
    assert columns([("-a N", "one two"), "as it is", ("--long-flag N", "three")], 20) == [
        "  -a N        one two", "as it is", "  --long-flag N", "              three"]


def test_kinds_are_found_without_importing_them():
    code = ("import sys; from stlm.config.slot import kinds_in; print(*kinds_in('stlm.model.patching')); "
            "assert not {'torch', 'numpy', 'stlm.model'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == kinds(PatchingConfig)


@pytest.mark.parametrize("flag", SLOTS)
def test_slots_that_the_short_help_names_are_those_of_a_run(flag):
    field = next(field for field in fields_of(RunConfig()) if field.flag == flag)
    assert field.slot is not None and field.slot.package == SLOTS[flag]
    words = " ".join(verb_usage("train").split())  # lines are wrapped
    assert f"{flag} KIND" in words and ", ".join(kinds_in(SLOTS[flag])) in words


def test_every_kind_that_is_listed_can_be_chosen():
    for field in fields_of(RunConfig()):
        for kind in kinds(field.slot) if field.slot else []:
            assert resolve(field.slot, kind, field.path)().kind == kind


def test_the_short_help_names_the_presets(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = re.search(r"^  PRESET(.*?)^  FILE", verb_usage("train"), re.M | re.S)[1]
    assert {word.strip(",;") for word in said.split()} >= set(PRESETS)
    assert set(re.findall(r"[0-9]+m[-\w]*", said)) <= set(PRESETS)


@pytest.mark.parametrize("verb", VERBS)
def test_flags_of_the_short_help_are_accepted(verb, tmp_path, monkeypatch, capsys):
    """The run isn't there, but the flag is known."""
    monkeypatch.chdir(tmp_path)
    train = {field.flag for field in fields_of(RunConfig())} | {row[0].split()[0] for row in TRAIN_FLAGS} | set(SHORTHANDS)
    values = {"--set": "a=1", "--cluster": "slurm", "--compression": "publish"}
    other = {"check": ["nothing"], "compare": ["nothing.py"], "eval": ["nothing"], "generate": ["nothing", "x"],
             "patches": ["nothing"], "publish": ["nothing", "x"],
             **{packer: ["nothing", "x", "-o", "y"] for packer in ("zip", "unzip")}}
    for flag in re.findall(r"^  (--\S+)", verb_usage(verb), re.M):
        if verb == "train":
            assert flag in train
        else:
            assert main([verb, *other[verb], flag, values.get(flag, "1")]) == 2
            assert "there is no flag" not in capsys.readouterr().err


def test_trackers_that_help_names_are_those_that_there_are():
    there = sorted(module.name for module in pkgutil.iter_modules(trackers.__path__))
    assert f"as well: {', '.join(there)}, or" in docstrings(TrainConfig)["trackers"]


def test_lengths_stand_for_each_other_in_help():
    assert "Give one of --train.steps, --train.minutes" in page(RunConfig(), "stlm", width=200)
    assert TrainConfig.alternatives
