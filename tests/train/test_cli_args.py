"""A run's arguments and its description say the same."""

from __future__ import annotations

import shlex

import pytest

from stlm.config.words import value_word
from stlm.train.cli_args import arguments_of, configure
from stlm.train.presets import PRESETS

FLAGS = [
    "", "--seed 7", "--train.minutes 0.3", "--train.megabytes 12.3456789", "--train.teraflops 1e-05",
    "--data 'my notes/$HOME,b.txt'", "--data --odd", "--model.patching stride --model.patching.stride 6",
    "--optim muon --optim.adamw-lr 0.004", "--train.trackers tensorboard wandb", "--train.init-from other",
    "--model.trunk linear --model.trunk.ffn swiglu --model.trunk.ffn.ratio 3", "--model.depth early_exit",
    "--optim.lr auto", "--optim soap --optim.lr auto --optim.every 5", "--optim muon --optim.coefficients polar_express",
    "--train.weight-decay-schedule early --train.weight-decay-schedule.until 0.5",
    "--objective mix", "--train.schedule linear --train.cooldown 1"]


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_is_its_name(preset):
    assert arguments_of(PRESETS[preset]()) == [preset]


@pytest.mark.parametrize("flags", FLAGS)
def test_arguments_describe_the_run_again(flags):
    words = shlex.split(flags.replace("--data --odd", "--data=--odd"))
    config = configure("demo", words, "")
    assert configure(*_split(arguments_of(config)), "") == config
    assert configure(*_split(arguments_of(config, "10m")), "") == config  # from another preset, with more flags


def _split(arguments):
    return arguments[0], shlex.split(shlex.join(arguments[1:]))


def test_only_what_differs_is_given():
    config = configure("10m", ["--model.patching", "stride", "--seed", "3", "--train.minutes", "2"], "")
    assert arguments_of(config) == ["10m", "--model.patching", "stride", "--train.minutes", "2", "--seed", "3"]


def test_a_file_may_be_the_base(tmp_path):
    path = tmp_path / "my run.toml"
    path.write_text('base = "demo"\n[model]\nlayers = 3\n')
    config = configure(str(path), ["--seed", "4"], "")
    assert arguments_of(config, str(path)) == [str(path), "--seed", "4"]
    assert arguments_of(config) == ["demo", "--model.layers", "3", "--seed", "4"]


@pytest.mark.parametrize(("value", "shown"), [
    (3.0, "3"), (0.003, "0.003"), (2e6, "2000000"), (1e-5, "1e-05"), (1e300, "1e+300"), (True, "True"),
    (None, "none"), (7, "7")])
def test_words(value, shown):
    assert value_word(value) == shown
