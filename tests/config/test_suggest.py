"""What is suggested for names that don't exist, and that nothing is where nothing is near."""

from __future__ import annotations

import re

import pytest

from stlm.cli.usage import SYNONYMS as VERB_SYNONYMS
from stlm.cli.usage import TRAIN_FLAGS, VERBS, flags_of
from stlm.config.decode import decode
from stlm.config.flags import parse
from stlm.config.help import fields_of
from stlm.config.slot import kinds, resolve
from stlm.config.suggest import SYNONYMS, did_you_mean, field_meant, flag_meant
from stlm.errors import UserError
from stlm.train.cli_args import SHORTHANDS
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig

FLAGS = {
    "--train.lr": "--optim.lr", "--lr": "--optim.lr", "--learning-rate": "--optim.lr", "--learningrate": "--optim.lr",
    "--optim.learning_rate": "--optim.lr", "--train.batch": "--train.batch-size", "--batch-size": "--train.batch-size",
    "--train.context": "--train.seq-len", "--block-size": "--train.seq-len", "--train.seq": "--train.seq-len",
    "--max-length": "--train.seq-len", "--epochs": "--train.epochs",
    "--early-stopping": "--train.stop-after", "--patience": "--train.stop-after", "--model.ffn": "--model.trunk.ffn",
    "--codec": "--data.tokenizer", "--tokenizer": "--data.tokenizer", "--hidden-size": "--model.dim",
    "--d_model": "--model.dim", "--n-embd": "--model.dim", "--n-layer": "--model.layers", "--n-head": "--model.trunk.heads",
    "--heads": "--model.trunk.heads", "--wd": "--optim.weight-decay", "--max-steps": "--train.steps",
    "--gradient-clipping": "--train.grad-clip", "--model.patchin": "--model.patching", "--model.dimm": "--model.dim",
    "--tran.steps": "--train.steps", "--sead": "--seed", "--nam": "--name", "--output-dir": "--name",
    "--checkpoints": "--train.checkpoint-every", "--fine-tune": "--train.init-from", "--muon": "--optim muon",
    "--swiglu": "--model.trunk.ffn swiglu", "--depth": "--model.layers' or '--model.depth",
    "--rows": "--train.batch-size' or '--model.embedding.rows", "--model.trunk.head": "--model.trunk.heads' or '--model.head",
    "--gpu": "--device", "--nproc-per-node": "--processes",
    "--window": "--model.trunk.window' or '--model.copying.window", "--train.precison": "--train.precision",
}


def said(flag, preset="demo"):
    with pytest.raises(UserError) as caught:
        parse(PRESETS[preset](), [flag, "1"], f"stlm train {preset}", SHORTHANDS, TRAIN_FLAGS)
    message = str(caught.value)
    assert message.startswith(f"there is no flag {flag}")
    assert message.endswith(f"`stlm train {preset} --help` lists them")
    return message.removeprefix(f"there is no flag {flag}").rpartition(";")[0].strip()


@pytest.mark.parametrize(("flag", "meant"), FLAGS.items())
def test_flags(flag, meant):
    assert said(flag) == f"(did you mean '{meant}'?)"


@pytest.mark.parametrize(("flag", "message"), [
    ("--model.patching.stride", "(it goes with --model.patching stride)"),
    ("--data.tokenizer.vocab-size", "(it goes with --data.tokenizer bpe or subword)"),
    ("--vocabulary", "(did you mean '--data.tokenizer.vocab-size'? It goes with --data.tokenizer bpe or subword)"),
    ("--model.stride", "(did you mean '--model.patching.stride'? It goes with --model.patching stride)"),
    ("--momentum", "(did you mean '--optim.momentum'? It goes with --optim muon)")])
def test_flags_of_other_kinds_and_what_is_no_flag(flag, message):
    assert said(flag) == message


@pytest.mark.parametrize("flag", [
    "--num-workers", "--lora", "--xyz", "--x", "--model", "--train",
    "--help-me", "--the-model-data"])
def test_nothing_is_suggested_where_nothing_is_near(flag):
    assert said(flag) == ""


def test_flags_of_the_chosen_kinds_only():
    assert said("--heads", "reader") == "(did you mean '--model.trunk.heads'? It goes with --model.trunk attention or linear)"


@pytest.mark.parametrize(("verb", "flag", "meant"), [
    ("generate", "--max-tokens", "--max-bytes"), ("generate", "--temprature", "--temperature"),
    ("generate", "--nucleus", "--top-p"), ("eval", "--task", "--tasks"), ("eval", "--n-samples", "--limit"),
    ("compare", "--workers", "--jobs"), ("generate", "--stop", ""), ("eval", "--batch-size", ""), ("compare", "--quick", "")])
def test_flags_of_other_verbs(verb, flag, meant):
    assert flag_meant(flag, flags_of(verb)) == (f" (did you mean '{meant}'?)" if meant else "")


@pytest.mark.parametrize(("verb", "meant"), [
    ("trian", "train"), ("sample", "generate"), ("gen", "generate"), ("evaluate", "eval"), ("score", "eval"),
    ("Benchmark", "eval"), ("tokenize", "patches"), ("compress", "zip"), ("decompress", "unzip"), ("fine-tune", "train"),
    ("export", "publish"), ("list", ""), ("ls", ""), ("help-me", ""), ("x", "")])
def test_verbs(verb, meant):
    assert did_you_mean(verb, list(VERBS), VERB_SYNONYMS) == (f" (did you mean {meant!r}?)" if meant else "")


@pytest.mark.parametrize(("name", "known", "meant"), [
    ("10m", ["10m-en", "demo"], "10m-en"), ("Demo", ["demo"], "demo"), ("my_run", ["my-run"], "my-run"),
    ("blimb", ["blimp"], "blimp"), ("arc", ["boolq", "arc_easy"], "arc_easy"), ("list", ["publish"], ""), ("a", ["abc"], ""),
    ("threads", ["heads"], "")])
def test_names(name, known, meant):
    assert did_you_mean(name, known) == (f" (did you mean {meant!r}?)" if meant else "")


@pytest.mark.parametrize(("values", "meant"), [
    ({"train": {"batch": 8}}, "batch_size"), ({"train": {"context": 8}}, "seq_len"), ({"train": {"lr": 8}}, "optim.lr"),
    ({"model": {"hidden_size": 8}}, "dim"), ({"model": {"n_layer": 8}}, "layers"), ({"sede": 1}, "seed"),
    ({"model": {"trunk": {"n_heads": 8}}}, "heads"), ({"train": {"xyz": 8}}, "")])
def test_fields_of_files(values, meant):
    with pytest.raises(UserError) as caught:
        decode(RunConfig, values, RunConfig(), check=False)
    assert re.findall(r"did you mean '([^']*)'", str(caught.value)) == ([meant] if meant else [])


def test_a_field_that_is_nowhere_near():
    assert field_meant("xyz", ["dim", "layers"]) == ""


def test_every_synonym_leads_to_a_flag():
    """Of a preset, of a kind that could be chosen there, or of another verb."""
    known = {flag for verb in VERBS for flag in flags_of(verb)} | {flag.split()[0] for flag, _ in TRAIN_FLAGS}
    for make in PRESETS.values():
        for field in fields_of(make()):
            known.add(field.flag)
            for kind in kinds(field.slot) if field.slot else []:
                known |= {f"{field.flag}.{inner.flag[2:]}" for inner in fields_of(resolve(field.slot, kind, field.path)())}
    assert {f"--{name}" for name in SYNONYMS} <= known
    assert set(VERB_SYNONYMS) <= set(VERBS)
