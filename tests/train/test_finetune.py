"""A trained model's name stands where a preset does: the run goes on from its weights, and never ends worse than it began."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from stlm.cli import main
from stlm.compare.recipe import Recipe
from stlm.config.files import read_table
from stlm.config.slot import kinds, resolve
from stlm.errors import UserError
from stlm.optim import OptimConfig, adamw, muon
from stlm.text.known import Known, known
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.train import best, finetune
from stlm.train.cli_args import arguments_of, configure, described
from stlm.train.folder import EXCERPT_BITS, RunFolder, find_checkpoint, read_lines
from stlm.train.presets import PRESETS
from tests.train.tiny import TINY

SHORT = ["--train.steps", "40"]
BPE = [*SHORT, "--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", "280", "--model.patching", "none",
       "--model.pooling", "last"]
LATE = [*SHORT, "--model.head", "late", "--model.layers", "2", "--model.sharing", "all", "--model.sharing.loop-from", "0.5"]
OTHER = "A cook sold warm bread, and {} people came for some of it; the rest went home by boat.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with three trained models and two texts. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.toml").write_text(TINY.replace("steps = 4", "steps = 150") + "[optim]\nlr = 0.03\n")
    (folder / "first.txt").write_text("".join(f"The heron waited for {n} boats; the cat found {n % 7}.\n" for n in range(150)))
    (folder / "other.txt").write_text("".join(OTHER.format(n) for n in range(60)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("stlm.cli.train.write_report", lambda folder: None)
        for name, flags in {"r": ["--seed", "5", "--objective", "mix", "--data.field", "body"], "b": BPE, "l": LATE}.items():
            assert main(["train", "tiny.toml", "--data", "first.txt", "--name", name, *flags]) == 0
    return folder


@pytest.fixture
def at_home(home, tmp_path, monkeypatch):
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr("stlm.cli.train.write_report", lambda folder: None)


# --- the description


@pytest.mark.usefixtures("at_home")
def test_what_is_taken_from_the_other_run():
    other, config = find_checkpoint("r").config, configure("r", ["--data", "other.txt"], "")
    assert (config.model, config.objective, config.data.tokenizer) == (other.model, other.objective, other.data.tokenizer)
    assert (config.train.init_from, config.data.source, config.data.field, config.seed) == ("r", "other.txt", "text", 0)
    assert (config.train.seq_len, config.train.batch_size) == (64, 64)
    assert config.optim == dataclasses.replace(other.optim, lr=0.3 * other.optim.lr)
    assert (config.train.steps, config.train.epochs, config.train.max_minutes) == (None, 5.0, 20.0)
    assert find_checkpoint("l").config.model.sharing.loop_from == 0.5
    assert configure("l", ["--data", "other.txt"], "").model.sharing.loop_from == 0  # its layers are trained
    changed = configure("r", ["--data", "other.txt", "--train.steps", "7", "--optim.lr", "0.5"], "")
    assert (changed.train.steps, changed.train.epochs, changed.optim.lr) == (7, None, 0.5)


def test_the_rate_falls_with_the_size_of_a_step(monkeypatch):
    shipped = find_checkpoint("10m-en").config
    config = configure("10m-en", ["--data", "x.txt"], "")
    assert (config.train.seq_len, config.train.batch_size, shipped.train.batch_size) == (2048, 2, 128)
    assert config.optim.lr == pytest.approx(shipped.optim.lr * math.sqrt(2 / 128), rel=0.01)


@pytest.mark.parametrize("kind", kinds(OptimConfig))
def test_every_optimizer_has_rates(kind):
    optim = resolve(OptimConfig, kind, "optim")()
    half = finetune.slower(optim, 0.5)
    rates = [field.name for field in dataclasses.fields(optim) if getattr(optim, field.name) != getattr(half, field.name)]
    assert "lr" in rates and all(getattr(half, name) == getattr(optim, name) / 2 for name in rates)
    assert finetune.slower(muon.Config(), 0.5).adamw_lr == muon.Config().adamw_lr / 2
    assert finetune.slower(adamw.Config(local_lr_mult=3.0), 0.5).local_lr_mult == 3.0


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(("words", "said"), [
    (["r"], "--data: name the text on which r is to be trained further, such as --data notes.txt; to go on with that run "
            "itself: --name r --resume"),
    (["r", "--data", ""], "--data: a value has to follow"),
    (["10m-em", "--data", "other.txt"], "there is no preset '10m-em' (did you mean '10m-en'?), and no model of that name"),
    (["dmeo"], "there is no preset 'dmeo' (did you mean 'demo'?)"),
    (["r", "--data", "nowhere.txt"], "nowhere.txt: there is no such"),
    (["r", "--data", "other.txt", "--model.dim", "32"], "train.init_from: "),
    (["r", "--data", "other.txt", "--data.tokenizer", "bpe", "--data.tokenizer.vocab-size", "280", "--model.patching", "none",
      "--model.pooling", "last"], "train.init_from: the tokens of r aren't those of this text"),
    (["runs", "--data", "other.txt"], "runs: neither a run nor a checkpoint")])
def test_faults_are_one_line(capsys, words, said):
    assert main(["train", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err and err.count("stlm: ") == 1
    assert not Path("runs/r-tuned").exists()


@pytest.mark.usefixtures("at_home")
def test_a_preset_comes_first(capsys):
    shutil.copytree("runs/r", "runs/demo")
    assert configure("demo", [], "") == PRESETS["demo"]()
    assert configure("runs/demo", ["--data", "other.txt"], "").train.init_from == "runs/demo"


@pytest.mark.usefixtures("at_home")
def test_help_is_that_of_the_model(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "r", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "--train.stop-after N" in out and "(r)" in out and "objective = mix" in out


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("flags", ["", "--train.steps 7", "--optim muon", "--seed 3 --train.stop-after 0"])
def test_arguments_describe_the_run_again(flags):
    words = ["r", "--data", "other.txt", *shlex.split(flags)]
    config, _ = described(words)
    assert arguments_of(config)[:3] == ["r", "--data", "other.txt"]
    for name in (None, "r", "10m"):
        again = arguments_of(config, name)
        assert configure(again[0], again[1:], "") == config
    shutil.rmtree("runs/r")
    again = arguments_of(config)
    assert again[0] in PRESETS and configure(again[0], again[1:], "") == config


def test_arms_of_a_recipe():
    common = {"question": "Which?", "rule": "r", "equal": "epochs", "amount": 2.0, "seeds": (0,)}
    recipe = Recipe(**common, arms={"a": "10m-en --data x.txt", "b": "10m --data x.txt"}, baseline="a")
    config, _ = described(recipe.words("a", 0))
    assert (config.train.epochs, config.train.init_from, config.model.dim) == (2.0, "10m-en", 384)
    with pytest.raises(UserError, match=r"arms\['a'\]: \{small\}: this model isn't trained yet .* --train.init-from \{small\}"):
        Recipe(**common, first={"small": "demo"}, arms={"a": "{small} --data x.txt"}, baseline="a")


# --- the run


@pytest.mark.usefixtures("at_home")
def test_one_command(capsys):
    assert main(["train", "r", "--data", "other.txt", "--train.steps", "6", "--optim.lr", "0.01"]) == 0
    folder = RunFolder(Path("runs/r-tuned"))
    looks = best.looks_of(folder)
    assert [look.step for look in looks] == list(range(7)) and looks[-1].bits < looks[0].bits
    first = read_lines(folder.metrics)[0]
    assert first["step"] == first["bytes"] == first["flops"] == 0 and EXCERPT_BITS in first
    assert main(["train", "r", "--data", "other.txt", "--resume", "--train.steps", "6"]) == 0
    assert "finished already, at step 6" in capsys.readouterr().err
    assert main(["train", "r", "--data", "other.txt", "--train.steps", "1"]) == 0
    assert Path("runs/r-tuned-2").exists()


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", ["r", "b", "l"])
def test_it_never_ends_worse_than_it_began(capsys, name):
    """Where it learns one text and is scored on another, which it knew."""
    Path("apart").mkdir()
    shutil.copy("other.txt", "apart/train.txt")
    shutil.copy("first.txt", "apart/validation.txt")
    assert main(["train", name, "--data", "apart", "--name", "t", "--optim.lr", "0.1", "--train.steps", "12",
                 "--train.batch-size", "8"]) == 0
    results, folder = read_table(Path("runs/t/results.json")), RunFolder(Path("runs/t"))
    assert results["weights_of_step"] == 0 and results["steps"] == 5 and results["last_weights"] > results["val/bits_per_byte"]
    err = capsys.readouterr().err
    assert "ended early at step 5: the last 5 evaluations brought no new best" in err
    assert "the best weights are used, not the last ones: " in err and "at step 0" in err
    before, after = (find_checkpoint(run).build_model().state_dict() for run in (name, "t"))
    assert before.keys() == after.keys() and all(torch.equal(value, after[key]) for key, value in before.items())
    assert best.looks_of(folder)[0].bits == best.kept(folder).bits


@pytest.mark.usefixtures("at_home")
def test_a_text_of_a_kilobyte(capsys):
    Path("little.txt").write_text(Path("other.txt").read_text()[:1024])
    assert main(["train", "r", "--data", "little.txt", "--train.epochs", "60", "--optim.lr", "0.05"]) == 0
    folder = RunFolder(Path("runs/r-tuned"))
    results, looks = read_table(folder.results), best.looks_of(folder)
    assert min(look.bits for look in looks) <= looks[0].bits
    assert results["val/bits_per_byte"] <= results["last_weights"]


@pytest.mark.usefixtures("at_home")
def test_a_killed_start_is_no_first_look_twice(capsys):
    assert main(["train", "r", "--data", "other.txt", "--train.steps", "2"]) == 0
    shutil.rmtree("runs/r-tuned/checkpoints")
    Path("runs/r-tuned/results.json").unlink()
    assert main(["train", "r", "--data", "other.txt", "--train.steps", "2", "--resume"]) == 0
    assert [look.step for look in best.looks_of(RunFolder(Path("runs/r-tuned")))] == [0, 1, 2]


@pytest.mark.usefixtures("at_home")
def test_at_most_so_many_minutes(capsys):
    assert main(["train", "r", "--data", "other.txt", "--train.epochs", "1e6", "--train.max-minutes", "0.01",
                 "--train.stop-after", "0"]) == 0
    last = RunFolder(Path("runs/r-tuned")).latest()
    assert 0.6 <= last.counters["spent"] < 5 and last.counters["progress"] == 1
    assert len(best.looks_of(RunFolder(Path("runs/r-tuned")))) <= 21
    capsys.readouterr()
    assert main(["train", "r", "--data", "other.txt", "--resume", "--train.epochs", "2e6", "--train.max-minutes", "0.01",
                 "--train.stop-after", "0"]) == 2
    assert "to train longer, add --train.max-minutes with more than 0.01, or none" in capsys.readouterr().err


# --- tokens


@pytest.mark.usefixtures("at_home")
def test_learned_tokens_are_those_of_the_other_run(capsys):
    words = ["train", "b", "--data", "other.txt", "--train.steps", "4", "--train.checkpoint-every", "2"]
    assert main(words) == 0
    one, other = find_checkpoint("b").tokenizer, RunFolder(Path("runs/b-tuned")).latest().tokenizer
    assert one.token_bytes == other.token_bytes
    learned = bpe.Config(vocab_size=280).build([Path("other.txt").read_bytes()])
    assert learned.token_bytes != one.token_bytes
    shutil.rmtree("runs/b")  # from now on the run has its own copy
    assert main([*words[:-4], "--resume", "--train.steps", "6"]) == 2
    assert main(["train", "tiny.toml", "--name", "b-tuned", "--resume", "--train.steps", "6"]) == 0
    assert main(["eval", "b-tuned", "--tasks", "bits"]) == 0


def test_a_known_tokenizer_is_a_description():
    learned = bpe.Config(vocab_size=280).build([b"a cold lake, a cold lake, a cold boat " * 20])
    kept = known(bpe.Config(vocab_size=280), learned)
    assert isinstance(kept, Known) and kept.build([b"other words"]) is learned
    assert kept == known(bpe.Config(vocab_size=280), learned) != known(bpe.Config(vocab_size=280), bpe.Outline(280))
    assert known(byte_tokenizer.Config(), byte_tokenizer.ByteTokenizer()) == byte_tokenizer.Config()
    from stlm.config.decode import encode
    assert json.loads(json.dumps(encode(kept)))["digest"] == kept.digest
