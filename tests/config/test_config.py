"""Slots, strict decoding, TOML files and flags."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap

import pytest

from stlm.config.decode import decode, encode
from stlm.config.files import load
from stlm.config.flags import parse
from stlm.config.slot import kinds, resolve
from stlm.errors import UserError
from stlm.model.model_config import ModelConfig
from stlm.model.patching import PatchingConfig, stride, whitespace
from stlm.optim import muon
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig


def test_kinds_are_the_files_of_a_package():
    assert kinds(PatchingConfig) == ["dynamic", "entropy", "none", "stride", "subword", "whitespace"]
    assert whitespace.Config().kind == "whitespace"
    assert resolve(PatchingConfig, "stride", "here") is stride.Config


def test_a_kind_outside_the_tree(tmp_path, monkeypatch):
    (tmp_path / "my_idea.py").write_text(textwrap.dedent("""
        import dataclasses
        from stlm.model.patching import PatchingConfig
        from stlm.model.patching.stride import Stride

        @dataclasses.dataclass(frozen=True)
        class Config(PatchingConfig):
            every: int = 5
            def build(self, tokenizer, dim):
                return Stride(self.every)
    """))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "my_idea.py").rename(tmp_path / "mine" / "my_idea.py")
    monkeypatch.syspath_prepend(tmp_path)
    config = parse(RunConfig(), ["--model.patching", "mine.my_idea", "--model.patching.every", "7"], "stlm")
    assert encode(config.model.patching) == {"kind": "mine.my_idea", "every": 7}
    assert decode(RunConfig, json.loads(json.dumps(encode(config)))) == config
    for name in ("mine.my_idea", "mine"):  # other tests have a package of that name elsewhere
        sys.modules.pop(name)


@pytest.mark.parametrize(("values", "message"), [
    ({"model": {"patchin": "none"}}, "model.patchin: there is no such field (did you mean 'patching'?); the fields are dim,"),
    ({"model": {"patching": "whitespaces"}}, "model.patching: there is no kind 'whitespaces' (did you mean 'whitespace'?); "
                                             "the kinds are dynamic, entropy, none, stride, subword, whitespace"),
    ({"model": {"patching": {"kind": "stride", "strid": 3}}}, "model.patching.strid: there is no such field "
                                                              "(did you mean 'stride'?); the fields are stride"),
    ({"model": {"patching": {"stride": 3}}}, "model.patching.stride: there is no such field; the fields are cap"),
    ({"model": {"dim": "wide"}}, "model.dim: expected a whole number, found 'wide'"),
    ({"model": {"dim": 2.5}}, "model.dim: expected a whole number, found 2.5"),
    ({"model": {"dim": 100, "trunk": {"heads": 3}}},
     "model: dim = 100 doesn't fit 3 heads: use a multiple of 6, such as 96 or 102"),
    ({"model": {"layers": 0}}, "model: layers = 0: it has to be 1 or more"),
    ({"model": 3}, "model: expected a table of fields, found 3"),
    ({"train": {"precision": "fp8"}}, "train.precision: 'fp8' is not one of 'auto', 'fp32', 'bf16'"),
    ({"train": {"trackers": "wandb"}}, "train.trackers: expected a list, found 'wandb'"),
    ({"model": {"patching": "no.such.module"}}, "model.patching: there is no kind 'no.such.module'"),
    ({"model": {"patching": "stlm.model.model_config"}}, "needs a class Config that derives from stlm.model.patching"),
])
def test_faults_say_what_would_be_right(values, message):
    with pytest.raises(UserError) as caught:
        decode(RunConfig, values, RunConfig())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_kind_changes_the_kind_there_is():
    config = decode(ModelConfig, {"patching": {"cap": 9}}, ModelConfig())
    assert config.patching == whitespace.Config(cap=9)
    assert decode(ModelConfig, {"patching": {"kind": "stride"}}, ModelConfig()).patching == stride.Config()


def test_whole_numbers_serve_as_numbers():
    assert decode(RunConfig, {"train": {"grad_clip": 2}}, RunConfig()).train.grad_clip == 2.0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = PRESETS[name]()
    assert decode(RunConfig, json.loads(json.dumps(encode(config)))) == config


def test_toml_files(tmp_path):
    (tmp_path / "a.toml").write_text('base = "demo"\nseed = 7\n[model]\npatching = "none"\n[optim]\nlr = 1e-3\n')
    (tmp_path / "b.toml").write_text('base = "a.toml"\n[model]\npatching = {kind = "stride", stride = 6}\n')
    config = load(str(tmp_path / "b.toml"), PRESETS)
    assert (config.seed, config.optim.lr, config.model.patching) == (7, 1e-3, stride.Config(6))


@pytest.mark.parametrize(("text", "message"), [
    ("seed = 1", 'the line base = "PRESET" is missing'),
    ('base = "dmeo"', "there is no preset 'dmeo' (did you mean 'demo'?)"),
    ('base = "demo"\nsede = 1', "sede: there is no such field (did you mean 'seed'?)"),
    ("base = ", "not a readable TOML file"),
    ('base = "x.toml"', "this file is its own base"),
])
def test_faults_of_toml_files(tmp_path, text, message):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=".") as caught:
        load(str(path), PRESETS)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_preset_that_is_not_there():
    with pytest.raises(UserError, match="there is no preset 'dmo' \\(did you mean 'demo'\\?\\)"):
        load("dmo", PRESETS)
    with pytest.raises(UserError, match="there is no such file"):
        load("missing.toml", PRESETS)


def test_flags():
    flags = ["--data", "notes.txt", "--data.field", "body", "--model.patching=stride", "--model.patching.stride", "6",
             "--optim", "muon", "--train.checkpoint-every", "5", "--seed", "3", "--train.trackers", "tensorboard"]
    config = parse(RunConfig(), flags, "stlm train demo", {"--data": "data.source"})
    assert (config.data.source, config.data.field) == ("notes.txt", "body")
    assert config.model.patching == stride.Config(6)
    assert config.optim == muon.Config()
    assert (config.train.checkpoint_every, config.seed, config.train.trackers) == (5, 3, ("tensorboard",))
    unchanged = dataclasses.replace(config, data=RunConfig().data, model=RunConfig().model, optim=RunConfig().optim,
                                    train=RunConfig().train, seed=0)
    assert unchanged == RunConfig()


@pytest.mark.parametrize(("flags", "message"), [
    (["--model.patchin", "none"], "there is no flag --model.patchin (did you mean '--model.patching"),
    (["--model.patching", "nine"], "model.patching: there is no kind 'nine' (did you mean 'none'?)"),
    (["--model.dim", "wide"], "model.dim: expected a whole number, found 'wide'"),
    (["--model.dim", "2.5"], "model.dim: expected a whole number, found '2.5'"),
    (["--optim.lr", "nan"], "optim.lr: expected a number or auto, found 'nan'"),
    (["--optim.lr", "atuo"], "optim.lr: expected a number or auto, found 'atuo' (did you mean 'auto'?)"),
    (["--optim.lr", "none"], "optim.lr: expected a number or auto, found 'none'"),
    (["--optim.weight-decay", "auto"], "optim.weight_decay: expected a number, found 'auto'"),
    (["--model.dim"], "--model.dim: a value has to follow"),
    (["--model.dim", "8", "9"], "--model.dim 8 9: only one value may follow"),
    (["--model.tie-local", "perhaps"], "model.tie_local: expected true or false, found 'perhaps'"),
    (["--model.tie-local"], "--model.tie-local: true or false has to follow"),
    (["--train.precision", "fp8"], "train.precision: 'fp8' is not one of 'auto', 'fp32', 'bf16'"),
    (["--model.embedding", "ngrams", "--model.embedding.orders", "2", "x"], "orders[1]: expected a whole number, found 'x'"),
    (["notes.txt"], "'notes.txt': a flag was expected here"),
    (["--model.patching"], "the name of a kind has to follow"),
    (["--model.dim", "250"], "dim = 250 doesn't fit 4 heads: use a multiple of 8, such as 248 or 256"),
    (["--model.dim", "7"], "use a multiple of 8, such as 8"),
    (["--model.local", "linear", "--model.local-dim", "9"],
     "local_dim = 9 doesn't fit 4 heads: use a multiple of 4, such as 8 or 12"),
])
def test_faults_of_flags(flags, message):
    with pytest.raises(UserError) as caught:
        parse(RunConfig(), flags, "stlm train demo")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_of_flags():
    flags = ["--model.tie-local", "True", "--model.trunk.kv-heads=2", "--train.tasks", "blimp,world", "boolq",
             "--train.cooldown", "0.25", "--model.embedding", "ngrams", "--model.embedding.orders", "2", "3",
             "--model.local_dim", "64",
             "--optim.lr", "1e-3"]
    config = parse(RunConfig(), flags, "stlm train demo")
    assert config.model.tie_local is True and config.model.local_dim == 64 and config.optim.lr == 1e-3
    assert config.model.trunk.kv_heads == 2 and config.model.embedding.orders == (2, 3)
    assert (config.train.tasks, config.train.cooldown) == (("blimp", "world", "boolq"), 0.25)
    back = parse(config, ["--model.trunk.kv-heads", "none", "--train.tasks", "--model.tie-local=false"], "stlm train demo")
    assert (back.model.trunk.kv_heads, back.train.tasks, back.model.tie_local) == (None, (), False)


def test_inner_kinds_may_come_before_outer_ones():
    flags = ["--model.local.ffn.ratio", "3", "--model.local.ffn", "swiglu", "--model.local", "attention"]
    assert encode(parse(RunConfig(), flags, "stlm").model.local)["ffn"] == {"kind": "swiglu", "ratio": 3.0}


def test_minutes_and_steps_stand_for_each_other(tmp_path):
    (tmp_path / "a.toml").write_text('base = "demo"\n[train]\nsteps = 5\n')
    (tmp_path / "b.toml").write_text('base = "a.toml"\n[train]\nminutes = 2\n')
    first, second = (load(str(tmp_path / name), PRESETS).train for name in ("a.toml", "b.toml"))
    assert (first.steps, first.minutes) == (5, None)
    assert (second.steps, second.minutes) == (None, 2.0)
    assert parse(PRESETS["demo"](), ["--train.steps", "7"], "stlm").train.minutes is None
    assert parse(PRESETS["10m"](), ["--train.minutes=7"], "stlm").train.steps is None
    for words, said in ((["--train.minutes", "30", "--train.max-minutes", "20"], "max_minutes = 20 would end the run before"),
                        (["--train.stop-after", "3", "--train.keep-best", "False"], "stop_after needs the best weights")):
        with pytest.raises(UserError, match=said):
            parse(PRESETS["10m"](), words, "stlm")
    with pytest.raises(UserError, match="give one of steps, minutes, megabytes, epochs, teraflops"):
        parse(PRESETS["demo"](), ["--train.steps", "7", "--train.minutes", "7"], "stlm")


def test_kinds_that_only_go_together_come_one_after_the_other():
    flags = ["--model.head", "parallel", "--model.copying", "none", "--model.decoder-layers", "0"]
    assert parse(PRESETS["demo"](), flags, "stlm").model.head.kind == "parallel"
    with pytest.raises(UserError, match="head = parallel"):
        parse(PRESETS["demo"](), flags[:2], "stlm")
