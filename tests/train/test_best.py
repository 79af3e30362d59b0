"""The best weights are kept, whatever happens, and used where the last ones are worse. Overfitting is told and ends a run."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stlm.cli import main
from stlm.config.files import read_table
from stlm.errors import UserError
from stlm.evaluate.final import final
from stlm.evaluate.validation import Validation
from stlm.train import best
from stlm.train.best import Look
from stlm.train.checkpoint import TRAINER, checkpoint_of, list_checkpoints, open_checkpoint
from stlm.train.folder import EXCERPT_BITS, RunFolder, find_checkpoint, read_lines
from stlm.train.loop import Callback
from stlm.train.resuming import refuse_without_effect
from tests.train.tiny import TINY, tiny_trainer


class StopAt(Callback):
    """Ask the run to stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer):
        trainer.stop = trainer.step >= self.step


class Scripted(Validation):
    """Looks whose figures are given, one after the other."""

    def __init__(self, bits, said=None, n_bytes=100):
        super().__init__((lambda line: None) if said is None else said.append)
        self._bits, self._n_bytes = bits, n_bytes

    def _score(self, trainer, model):
        return self._bits[trainer.step // trainer.config.train.evaluate_every - 1], self._n_bytes


def looks(*bits):
    return [Look(step, value, 100) for step, value in enumerate(bits)]


@pytest.mark.parametrize(("bits", "since", "worse"), [
    ([], 0, False), ([2.0], 0, False), ([2.0, 1.9, 1.8], 0, False), ([2.0, 1.8, 1.9], 1, False),
    ([2.0, 1.8, 1.9, 1.9], 2, True), ([2.0, 1.8, 1.81, 1.9], 2, False), ([2.0, 1.8, 1.9, 1.81], 2, False),
    ([1.8, 1.8, 1.8], 2, False), ([1.8, 1.9, 1.7], 0, False), ([1.8, 1.9], 1, False)], ids=str)
def test_the_rules(bits, since, worse):
    found = looks(*bits)
    assert best.without_new_best(found) == since and best.has_got_worse(found) == worse
    assert best.is_over(found, since) == (since > 0) and not best.is_over(found, since + 1) and not best.is_over(found, 0)


def weights(folder, step):
    """The weights that are used, of a kept or a usual checkpoint."""
    path = checkpoint_of(folder, step)
    ema = path / "ema.safetensors"
    return safetensors.torch.load_file(ema if ema.exists() else path / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


BITS = [3.0, 2.5, 2.6, 2.4, 2.7, 2.45, 2.8, 2.9, 2.4, 2.5, 2.6, 3.0]


@pytest.mark.parametrize("averaging", ["none", "ema", "tail"])
def test_the_best_weights_stay(tmp_path, averaging):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], evaluate_every=1, checkpoint_every=1, keep=99,
                           averaging=averaging)
    trainer.run()
    folder = RunFolder(tmp_path / "run")
    assert list(folder.best.iterdir()) == [checkpoint_of(folder.best, 4)]
    assert same(weights(folder.best, 4), weights(folder.checkpoints, 4))
    kept = open_checkpoint(checkpoint_of(folder.best, 4))
    assert {path.name for path in kept.folder.iterdir()} == {"config.json", "model.safetensors", TRAINER}
    assert kept.build_model() is not None and kept.counters["progress"] == pytest.approx(4 / 12)
    with pytest.raises(UserError, match="published without the state of its optimizer"):
        kept.optimizer()


def test_none_are_kept_if_not_asked(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], evaluate_every=1, keep_best=False)
    trainer.run()
    assert not trainer.folder.best.exists() and final(trainer).step == 12


def test_keeping_changes_nothing(tmp_path):
    tiny_trainer(tmp_path / "plain").run()
    tiny_trainer(tmp_path / "kept", callbacks=[Validation()], evaluate_every=1).run()
    assert same(*(weights(tmp_path / name / "checkpoints", 12) for name in ("plain", "kept")))


@pytest.mark.parametrize("stop_after", [0, 3])
def test_going_on_equals_never_stopping(tmp_path, stop_after):
    length = {"evaluate_every": 1, "checkpoint_every": 1, "stop_after": stop_after}
    ends = 12 if stop_after == 0 else 7
    for cut in range(1, 8):
        tiny_trainer(tmp_path / f"cut-{cut}", callbacks=[Scripted(BITS), StopAt(cut)], **length).run()
        again = tiny_trainer(tmp_path / f"cut-{cut}", callbacks=[Scripted(BITS)], resume=True, **length)
        again.run()
        assert again.done and again.step == ends, cut
        assert best.kept(again.folder) == Look(4, 2.4, 100)


def test_a_run_that_ended_early_is_over(tmp_path):
    length = {"evaluate_every": 1, "checkpoint_every": 5, "stop_after": 3}
    first = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], **length)
    first.run()
    assert first.over and first.done and first.step == 7 and first.progress() < 1
    assert list_checkpoints(first.folder.checkpoints)[-1].name == "step_0000007"
    again = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], resume=True, **length)
    assert again.done
    longer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], resume=True, **{**length, "stop_after": 4})
    longer.run()
    assert longer.step == 8
    longer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], resume=True, **{**length, "stop_after": 0})
    longer.run()
    assert longer.step == 12 and not longer.over


def test_weights_of_a_step_that_is_not_done_again_stay(tmp_path):
    """The run was killed after step 4, and goes on from step 3. What it kept was saved after that."""
    length = {"evaluate_every": 1, "checkpoint_every": 3}
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS), StopAt(4)], **length).run()
    folder = RunFolder(tmp_path / "run")
    shutil.rmtree(checkpoint_of(folder.checkpoints, 4))
    before = weights(folder.best, 4)
    other = [3.0, 2.5, 2.6, 2.9, 2.8, 2.41, 2.8, 2.9, 2.39, 2.5, 2.6, 3.0]
    again = tiny_trainer(tmp_path / "run", callbacks=[Scripted(other), StopAt(8)], resume=True, **length)
    assert again.step == 3 and [look.step for look in best.looks_of(folder)] == [1, 2, 3]
    again.run()
    assert best.kept(folder) == Look(4, 2.4, 100) and same(weights(folder.best, 4), before)
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(other)], resume=True, **length).run()
    assert best.kept(folder) == Look(9, 2.39, 100)


def test_a_new_start_forgets_what_an_old_one_kept(tmp_path):
    length = {"evaluate_every": 1, "checkpoint_every": 99}
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS), StopAt(4)], **length).run()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted([9.0] * 12), StopAt(1)], resume=True, **length)
    assert trainer.step == 0
    trainer.run()
    assert best.kept(trainer.folder) == Look(1, 9.0, 100)
    assert [line["step"] for line in read_lines(trainer.folder.metrics) if EXCERPT_BITS in line] == [1]


def test_another_excerpt(tmp_path):
    """Figures of two excerpts aren't compared: the kept weights are scored on the new one."""
    tiny_trainer(tmp_path / "run", callbacks=[Validation(), StopAt(4)], evaluate_every=1, evaluate_kilobytes=0.05).run()
    folder = RunFolder(tmp_path / "run")
    first, n_bytes = best.kept(folder), read_lines(folder.metrics)[-1]["val/excerpt_bytes"]
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Validation(), StopAt(6)], resume=True, evaluate_every=1)
    trainer.run()
    assert first.n_bytes == n_bytes < best.kept(folder).n_bytes
    assert {look.step for look in best.looks_of(folder)} == {5, 6}


# --- kills


@pytest.mark.parametrize("calls", range(1, 12))
def test_killed_at_any_change_of_the_folder(tmp_path, monkeypatch, calls):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS), StopAt(1)], evaluate_every=1)
    trainer.run()
    folder, model = trainer.folder, trainer.usable_model()
    trainer.advance()
    done = 0

    class Killed(BaseException):
        pass

    def counted(module, name):
        original = getattr(module, name)

        def work(*arguments, **keywords):
            nonlocal done
            if done == calls:
                raise Killed
            done += 1
            return original(*arguments, **keywords)
        monkeypatch.setattr(module, name, work)

    def write():
        best.keep(folder, trainer.config, trainer.corpus.tokenizer, model, Look(2, 2.5, 100), trainer.counters.__dict__)
    with monkeypatch.context() as monkeypatch:
        for name in ("mkdir", "write_text", "rename"):
            counted(Path, name)
        counted(shutil, "rmtree")
        counted(os, "fsync")
        try:
            write()
        except Killed:
            pass
        else:
            pytest.skip("it takes fewer steps")
    kept = best.kept(folder)
    assert kept in (Look(1, 3.0, 100), Look(2, 2.5, 100))
    assert best.load_best(folder, kept).build_model() is not None
    write()
    assert best.kept(folder) == Look(2, 2.5, 100) and [path.name for path in folder.best.iterdir()] == ["step_0000002"]


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, os.strerror(28))
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], evaluate_every=1)
    monkeypatch.setattr("safetensors.torch.save_model", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device.; free some space and continue"):
        trainer.run()
    assert list(trainer.folder.best.iterdir()) == []


def test_a_run_whose_last_look_is_its_end_is_not_early(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], evaluate_every=1, stop_after=3, steps=7)
    trainer.run()
    assert trainer.done and not trainer.over and trainer.progress() == 1
    longer = dataclasses.replace(trainer.config.train, steps=9)
    config, folder = dataclasses.replace(trainer.config, train=longer), trainer.folder
    refuse_without_effect(folder, folder.latest(), config, trainer.corpus)
    again = tiny_trainer(tmp_path / "run", resume=True, callbacks=[Scripted(BITS)], config=config)
    assert not again.done


@pytest.mark.parametrize("record", ['{"step": 4}', '{"step": 4,', '{"step": "4", "excerpt_bits": 2.4, "excerpt_bytes": 100}',
                                    '{"step": 4, "excerpt_bits": null, "excerpt_bytes": 100}'])
def test_a_foreign_record(tmp_path, record):
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS), StopAt(5)], evaluate_every=1).run()
    (tmp_path / "run" / "best" / "step_0000004" / TRAINER).write_text(record)
    with pytest.raises(UserError, match="(another version of stlm has written it|not a readable JSON).*; delete step_0000004"):
        tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS)], resume=True, evaluate_every=1).run()


# --- overfitting


@pytest.mark.parametrize(("flags", "advice"), [
    ({}, "the best weights are kept; try less training, more text or --train.stop-after 3"),
    ({"stop_after": 9}, "the best weights are kept; try less training or more text"),
    ({"keep_best": False}, "(2.400 bits per byte at step 4, now 2.450); try less training, more text or")])
def test_overfitting_is_told_once(tmp_path, flags, advice):
    said = []
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS, said)], evaluate_every=1, batch_size=40, **flags).run()
    assert len(said) == 1 and "\n" not in said[0]
    assert "times, and held-out text is getting worse" in said[0] and advice in said[0]
    assert float(said[0].split()[4]) > 1


def test_text_that_was_read_once_is_not_overfitted(tmp_path):
    said = []
    tiny_trainer(tmp_path / "run", callbacks=[Scripted(BITS, said)], evaluate_every=1, batch_size=1).run()
    assert said == []


# --- the command


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    """A folder with a text that is learned by heart, and held-out text of another kind; the run, and what was said."""
    folder = tmp_path_factory.mktemp("overfitted")
    larger = TINY.replace("dim = 16", "dim = 32").replace("steps = 4", "steps = 160")
    (folder / "tiny.toml").write_text(larger + "[optim]\nlr = 0.03\n")
    (folder / "text").mkdir()
    (folder / "text" / "train.txt").write_text("The grey heron stood in the cold water. " * 30)
    (folder / "text" / "validation.txt").write_text("A cook sold warm bread, and twelve people came for some of it. " * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "tiny.toml", "--data", "text", "--name", "r", "--train.evaluate-every", "8"]) == 0
    return folder


@pytest.fixture
def at_home(overfitted, tmp_path, monkeypatch):
    shutil.copytree(overfitted, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return RunFolder(Path("runs/r"))


def test_the_better_weights_are_used(at_home, capsys):
    results = read_table(at_home.results)
    step, found = results["weights_of_step"], best.looks_of(at_home)
    assert 0 < step < results["steps"] == 160 and step == best.best_of(found).step
    assert results["val/bits_per_byte"] < results["last_weights"] - 0.1
    assert find_checkpoint("r").folder == at_home.best.absolute().relative_to(Path.cwd()) / f"step_{step:07d}"
    assert find_checkpoint("runs/r/best").counters["step"] == step
    assert at_home.latest().counters["step"] == find_checkpoint("runs/r/checkpoints").counters["step"] == 160
    page = " ".join(at_home.report.read_text().split())
    assert "-longer" not in page
    assert f"These are the weights of step {step}" in page and f"step {step}: what is used" in page
    assert main(["generate", "r", "The", "--max-bytes", "3"]) == 0
    assert main(["publish", "r", "small"]) == 0
    assert same(find_checkpoint("small").build_model().bfloat16().state_dict(),
                find_checkpoint("r").build_model().bfloat16().state_dict())
    assert main(["eval", "r", "--tasks", "bits", "--limit", "2"]) == 0 and Path("runs/r/eval/results.json").exists()


def test_a_run_that_goes_on_is_used_as_it_is(at_home, capsys):
    """Its results are of an earlier step until it ends again; then its best weights may still be those of the beginning."""
    step = read_table(at_home.results)["weights_of_step"]
    trained = ["train", "tiny.toml", "--name", "r", "--resume", "--train.steps"]
    assert main([*trained, "168"]) == 0
    assert "the best weights are used, not the last ones: " in capsys.readouterr().err
    assert find_checkpoint("r").counters["step"] == read_table(at_home.results)["weights_of_step"] == step
    at_home.results.write_text(json.dumps({**read_table(at_home.results), "steps": 160}))
    assert find_checkpoint("r").counters["step"] == 168


def test_weights_that_are_missing_are_told(at_home):
    shutil.rmtree(at_home.best)
    with pytest.raises(UserError, match="which are missing; to use the last ones, name .*step_0000160") as caught:
        find_checkpoint("r")
    assert "\n" not in str(caught.value)


def test_last_weights_that_are_better_on_the_whole_text_are_used(at_home, monkeypatch):
    trainer = tiny_trainer(at_home.path.parent / "other", callbacks=[Scripted(BITS)], evaluate_every=1, averaging="none")
    trainer.run()
    chosen = final(trainer)  # the figures of the excerpt were invented: in truth it has learned all the time
    assert chosen.step == 12 and chosen.score == chosen.last
    assert chosen.said.startswith("the last weights are used, which are the better ones: ")


def test_the_command_ends_early(at_home, capsys):
    early = ["train", "tiny.toml", "--data", "text", "--name", "e", "--train.evaluate-every", "8", "--train.stop-after", "2"]
    assert main(early) == 0
    err = capsys.readouterr().err
    folder, results = RunFolder(Path("runs/e")), read_table(Path("runs/e/results.json"))
    assert results["steps"] < 160 and results["weights_of_step"] == results["steps"] - 16
    assert f"ended early at step {results['steps']}: the last 2 evaluations brought no new best" in err
    assert folder.latest().counters["step"] == results["steps"]
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert main([*early, "--resume"]) == 0
    assert ("finished already, at step" in (err := capsys.readouterr().err)
            and "it ended early (--train.stop-after 2); to train longer, give more, or 0" in err)
    for flags in (["--train.steps", "300"], ["--optim.lr", "0.001"], ["--train.stop-after", "1"]):
        assert main([*early, "--resume", *flags]) == 2
        assert "would change nothing; it ended early" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"} == before
    assert main([*early, "--resume", "--train.stop-after", "0", "--train.steps", str(results["steps"] + 2)]) == 0
    assert folder.latest().counters["step"] == results["steps"] + 2


def test_a_run_that_was_killed_between_its_early_end_and_its_scores(at_home, capsys):
    early = ["train", "tiny.toml", "--data", "text", "--name", "e", "--train.evaluate-every", "8", "--train.stop-after", "2"]
    assert main(early) == 0
    first = read_table(Path("runs/e/results.json"))
    Path("runs/e/results.json").unlink()
    assert find_checkpoint("e").counters["step"] == first["steps"]  # the newest, while there are no results
    assert main([*early, "--resume"]) == 0
    again = read_table(Path("runs/e/results.json"))
    assert {name: first[name] for name in ("steps", "weights_of_step", "val/bits_per_byte", "last_weights")} == {
        name: again[name] for name in ("steps", "weights_of_step", "val/bits_per_byte", "last_weights")}
