"""A run that goes on counts what was spent, reads on where it was, and keeps a record of what has changed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from stlm.cli import main
from stlm.config.decode import changed
from stlm.data.stream import Stream
from stlm.errors import UserError
from stlm.optim import adamw, muon, soap
from stlm.train import compiling, machine
from stlm.train.checkpoint import TRAINER, sha256
from stlm.train.folder import RunFolder, read_lines
from stlm.train.length import Counters, goal_of, progress_of, steps_of_run
from stlm.train.loop import Callback
from stlm.train.run_config import RunConfig, TrainConfig
from tests.train.tiny import TINY, tiny_config, tiny_corpus, tiny_trainer


class StopAt(Callback):
    """Ask the run to stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer):
        trainer.stop = trainer.step >= self.step


class Reads(Callback):
    """Notes the rows that a run reads."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []

    def on_train_begin(self, trainer):
        made = trainer.source.batches

        def noted(step, model):
            batches = made(step, model)
            self.rows += [tuple(row.tolist()) for batch in batches for row in batch.inputs]
            return batches
        trainer.source.batches = noted


# --- rows, bytes, steps


@pytest.fixture(scope="module")
def whole():
    """The rows of a run in their order."""
    corpus = tiny_corpus()
    return [tuple(row.tolist()) for row in Stream(corpus.train, corpus.tokenizer, 32, 80, seed=0).batch(0).inputs]


@pytest.mark.parametrize("change", [{"batch_size": 2}, {"batch_size": 8}, {"batch_size": 6, "grad_accum": 3},
                                    {"grad_accum": 4}, {"batch_size": 1}], ids=str)
def test_rows_are_neither_skipped_nor_repeated(tmp_path, whole, change):
    parts = [Reads(), Reads()]
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(3), parts[0]], checkpoint_every=50).run()
    tiny_trainer(tmp_path / "run", callbacks=[parts[1]], resume=True, steps=6, checkpoint_every=50, **change).run()
    found = parts[0].rows + parts[1].rows
    assert len(parts[0].rows) == 12 and len(parts[1].rows) == 3 * change.get("batch_size", 4)
    assert found == whole[:len(found)]


@pytest.mark.parametrize("change", [{"batch_size": 2}, {"batch_size": 8}, {"batch_size": 1}, {"grad_accum": 2},
                                    {"batch_size": 12, "grad_accum": 4}], ids=str)
def test_megabytes_are_those_of_the_whole_run(tmp_path, change):
    length = {"steps": None, "megabytes": 0.002, "checkpoint_every": 100}
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(5)], **length).run()
    again = tiny_trainer(tmp_path / "run", resume=True, **length, **change)
    before = again.progress()
    assert 0.2 < before < 0.4  # 5 steps of 4 rows of at most 32 bytes
    again.run()
    assert again.counters.n_bytes == pytest.approx(2000, abs=32 * change.get("batch_size", 4))
    assert again.progress() == 1


def test_a_run_given_flops_and_one_given_time_count_what_was_spent(tmp_path):
    tiny_trainer(tmp_path / "flops", callbacks=[StopAt(4)], steps=None, teraflops=0.0002).run()
    again = tiny_trainer(tmp_path / "flops", resume=True, steps=None, teraflops=0.0002, batch_size=16)
    step = again.counters.flops / again.step
    again.run()
    assert 2e8 <= again.counters.flops < 2e8 + 5 * step
    tiny_trainer(tmp_path / "time", callbacks=[StopAt(2)], steps=None, minutes=1.0).run()
    saved = RunFolder(tmp_path / "time").latest()
    again = tiny_trainer(tmp_path / "time", resume=True, steps=None, minutes=saved.counters["spent"] / 61, batch_size=1)
    assert again.done


def test_a_run_may_go_on_in_another_unit(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(4)]).run()
    again = tiny_trainer(tmp_path / "run", resume=True, steps=None, megabytes=0.002, batch_size=2)
    again.run()
    assert again.counters.n_bytes == pytest.approx(2000, abs=64)
    longer = tiny_trainer(tmp_path / "run", resume=True, steps=again.step + 3)
    longer.run()
    assert longer.step == again.step + 3


@pytest.mark.parametrize("megabytes", [0.0005, 0.0011, 0.0023, 0.004, 0.01])
def test_the_share_of_an_undisturbed_run_is_that_of_its_steps(megabytes):
    """So a learning rate is the same to the last bit, wherever a run was stopped."""
    train, shard = dataclasses.replace(tiny_config().train, steps=None, megabytes=megabytes), tiny_corpus().train
    total = steps_of_run(train, shard, Counters())
    for step in range(total + 1):
        used = Counters(step=step, rows=step * train.batch_size)
        assert steps_of_run(train, shard, used) == total
        assert progress_of(train, used, goal_of(train, shard)) == min(1.0, step / total)


def test_checkpoints_without_a_count_of_rows(tmp_path, whole):
    """Older versions didn't count them."""
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(5)]).run()
    path = RunFolder(tmp_path / "run").latest().folder / TRAINER
    record = json.loads(path.read_text())
    assert record.pop("rows") == 20
    path.write_text(json.dumps(record))
    reads = Reads()
    tiny_trainer(tmp_path / "run", callbacks=[reads], resume=True, batch_size=2).run()
    assert reads.rows == whole[20:34]


# --- the optimizer


@pytest.mark.parametrize(("before", "after"), [
    (adamw.Config(), adamw.Config(local_lr_mult=3.0)), (adamw.Config(local_lr_mult=2.0), adamw.Config()),
    (adamw.Config(), adamw.Config(base_width=64)), (adamw.Config(base_width=32), adamw.Config(base_width=8, weight_decay=0.0)),
    (muon.Config(), muon.Config(lr=0.001, momentum=0.5)), (adamw.Config(), adamw.Config(cautious=True)),
    (muon.Config(), muon.Config(local_lr_mult=2.0, blocks=2, every=2, normalize=True)),
    (muon.Config(blocks=2, every=3, normalize=True), muon.Config(local_lr_mult=0.5)),
    (soap.Config(every=2), soap.Config(every=3, local_lr_mult=2.0))], ids=str)
def test_parameters_keep_their_state_in_other_groups(tmp_path, before, after):
    config = dataclasses.replace(tiny_config(), optim=before)
    first = tiny_trainer(tmp_path / "run", config=config, callbacks=[StopAt(4)])
    first.run()
    again = tiny_trainer(tmp_path / "run", config=dataclasses.replace(config, optim=after), resume=True)
    states = [{name: values for optimizer in trainer.optimizers for name, parameter in trainer.model.named_parameters()
               if (values := optimizer.state.get(parameter))} for trainer in (first, again)]
    assert states[0].keys() == states[1].keys() != set()
    for name, values in states[0].items():
        assert all(torch.equal(value, states[1][name][key]) for key, value in values.items())
    again.run()


def test_states_of_other_parameters(tmp_path):
    """Shapes and numbers that PyTorch doesn't compare, and what isn't a state at all."""
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(4)]).run()
    saved = RunFolder(tmp_path / "run").latest()
    good = torch.load(saved.folder / "optimizer.pt", weights_only=True)

    def spoiled(change):
        state = torch.load(saved.folder / "optimizer.pt", weights_only=True)
        change(state)
        return state
    entry = good["optimizers"][0]["state"][0]
    assert entry["exp_avg"].dim() > 0
    for bad in [spoiled(lambda s: s["optimizers"][0]["state"][0].update(exp_avg=torch.zeros(3))),
                spoiled(lambda s: s["optimizers"][0]["state"][0].update(exp_avg_sq=entry["exp_avg_sq"] * torch.nan)),
                spoiled(lambda s: s["optimizers"][0]["state"][0].pop("step")), spoiled(lambda s: s["optimizers"].append({})),
                spoiled(lambda s: s["optimizers"][0]["param_groups"].pop()),
                spoiled(lambda s: s.update(batches={"place": 3})), spoiled(lambda s: s.pop("batches")), [], 3, None]:
        torch.save(bad, saved.folder / "optimizer.pt")
        record = json.loads((saved.folder / TRAINER).read_text())
        record["sha256"].pop("optimizer.pt")
        (saved.folder / TRAINER).write_text(json.dumps(
            {**record, "sha256": {**record["sha256"], "optimizer.pt": sha256(saved.folder / "optimizer.pt")}}))
        with pytest.raises(UserError, match=r"optimizer\.pt: not the state of this run's optimizer") as caught:
            tiny_trainer(tmp_path / "run", resume=True)
        assert "\n" not in str(caught.value)


# --- decisions and machines


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a run that was stopped after a step. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    tiny_trainer(folder, callbacks=[StopAt(1)]).run()
    return folder


def test_the_peak_is_that_of_the_machine_that_runs(tmp_path, monkeypatch):
    first = tiny_trainer(tmp_path / "run", callbacks=[StopAt(3)], log_every=1)
    first.run()
    monkeypatch.setattr(machine, "peak_flops", lambda device, precision: 4e11)
    plain = machine.describe
    monkeypatch.setattr(machine, "describe", lambda device: {**plain(device), "cpu": "another", "threads": 64})
    again = tiny_trainer(tmp_path / "run", resume=True, log_every=1)
    again.run()
    assert (first.decisions.peak_flops, again.decisions.peak_flops) == (1e11, 4e11)
    assert dataclasses.replace(again.decisions, peak_flops=1e11) == first.decisions
    for line in read_lines(tmp_path / "run" / "metrics.jsonl"):
        peak = 1e11 if line["step"] <= 3 else 4e11
        assert line["train/mfu"] == pytest.approx(line["train/bytes_per_second"] * again.counters.flops_per_byte / peak)
    record = json.loads((tmp_path / "run" / "env.json").read_text())
    assert record["cpu"] != "another" and record["decided"]["peak_flops"] == 1e11
    assert [(start["step"], start["cpu"] == "another", start["peak_flops"]) for start in record["starts"]] == [
        (0, False, 1e11), (3, True, 4e11)]


def test_a_start_like_the_one_before_leaves_no_trace(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(2)]).run()
    before = (tmp_path / "run" / "env.json").read_bytes()
    tiny_trainer(tmp_path / "run", resume=True, callbacks=[StopAt(5)]).run()
    assert (tmp_path / "run" / "env.json").read_bytes() == before


def test_starts_of_an_older_record(tmp_path):
    """Older versions didn't list starts."""
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(2)]).run()
    path = tmp_path / "run" / "env.json"
    record = json.loads(path.read_text())
    del record["starts"]
    path.write_text(json.dumps(record))
    tiny_trainer(tmp_path / "run", resume=True, batch_size=2, callbacks=[StopAt(4)]).run()
    starts = json.loads(path.read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 2] and starts[0]["cpu"] == record["cpu"]
    assert starts[1]["changes"] == {"train.batch_size": [4, 2]}


def test_a_start_from_which_nothing_was_saved_is_replaced(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(2)]).run()
    for size in (2, 8):
        trainer = tiny_trainer(tmp_path / "run", resume=True, batch_size=size)
        trainer.stop = True
        trainer.run()
    starts = json.loads((tmp_path / "run" / "env.json").read_text())["starts"]
    assert [start.get("changes") for start in starts] == [None, {"train.batch_size": [4, 8]}]


@pytest.mark.parametrize("decided", [{}, {"precision": "fp8"}, {"compile": 1}, {"compile": "wholly"},
                                     {"flops_per_byte": "many"}, {"peak_flops": 0}, None, {"flops_per_byte": -1.0},
                                     {"quantised": True}], ids=str)
def test_decisions_of_another_version(begun, tmp_path, decided):
    shutil.copytree(begun, tmp_path / "run")
    path = tmp_path / "run" / "env.json"
    record = json.loads(path.read_text())
    record["decided"] = {**record["decided"], **decided} if decided else decided
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"env\.json.*another version .*; delete env.json to measure again") as caught:
        tiny_trainer(tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)
    path.unlink()
    tiny_trainer(tmp_path / "run", resume=True)


def test_a_machine_that_cannot_compile_goes_on_without(tmp_path, monkeypatch):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(1)], compile="auto").run()
    path = tmp_path / "run" / "env.json"
    record = json.loads(path.read_text())
    record["decided"]["compile"] = True
    path.write_text(json.dumps(record))

    def no_compiler(model):
        raise RuntimeError("no C++ compiler was found\nat all")
    monkeypatch.setattr(compiling, "compile_blocks", no_compiler)
    trainer = tiny_trainer(tmp_path / "run", resume=True, compile="auto")
    assert trainer.decisions.compile == "off"
    assert trainer.notes == ["train.compile: this machine can't compile (no C++ compiler was found): the rest of this run "
                             "isn't compiled"]
    trainer.run()
    with pytest.raises(UserError, match="this machine can't compile"):
        tiny_trainer(tmp_path / "run", resume=True, compile="on")


def test_a_precision_that_is_asked_for_is_taken(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(1)], precision="auto").run()
    for precision in ("bf16", "fp32"):
        assert tiny_trainer(tmp_path / "run", resume=True, precision=precision).decisions.precision == precision


# --- the command


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a text, a description and a finished run. Nothing is written to it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "text.txt").write_text("".join(f"The heron waited for {n} boats; the cat found {n % 7}.\n" for n in range(150)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "tiny.toml", "--data", "text.txt", "--name", "r"]) == 0
    return folder


@pytest.fixture
def at_home(home, tmp_path, monkeypatch):
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr("stlm.cli.train.write_report", lambda folder: None)


def resume(capsys, *flags):
    status = main(["train", "tiny.toml", "--name", "r", "--resume", *flags])
    return status, capsys.readouterr().err


def contents():
    return {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(("flags", "status", "said"), [
    ([], 0, "finished already, at step 4; to train longer, add --train.steps with more than 4"),
    (["--train.steps", "4"], 0, "finished already"),
    (["--optim.lr", "0.1"], 2, "finished already, at step 4, so --optim.lr would change nothing; to train longer, add "
                               "--train.steps with more than 4"),
    (["--train.steps", "3", "--train.batch-size", "4"], 2, "so --train.steps, --train.batch-size would change nothing"),
    (["--train.megabytes", "0.0001"], 2, "would change nothing; to train longer, add --train.steps with more than 4"),
    (["--train.seq-len", "32"], 2, "--train.seq-len: it can't change in a run that continues, because the text is cut into"),
    (["--train.init-from", "r"], 2, "--train.init-from: it can't change in a run that continues, because a run starts from"),
    (["--train.steps", "9", "--train.warmup", "3"], 2, "--train.warmup: this run is at step 4, so its warm-up is over"),
    (["--model.dim", "32"], 2, "--model.dim: it can't change in a run that continues"),
    (["--seed", "1", "--train.steps", "9"], 2, "--seed: it can't change in a run that continues"),
    (["--train.steps", "9", "--data", "nowhere.txt"], 2, "if the text of this run lies elsewhere now, say where with --data"),
    (["--train.steps", "9", "--data", "tiny.toml"], 2, "say where with --data"),
])
def test_what_changes_nothing_changes_no_record(capsys, flags, status, said):
    before = contents()
    found, err = resume(capsys, *flags)
    assert (found, said in err) == (status, True), err
    assert len(err.splitlines()) <= 2
    assert contents() == before


@pytest.mark.usefixtures("at_home")
def test_another_text_is_refused_and_the_same_text_may_lie_elsewhere(capsys):
    Path("other.txt").write_text("Another text, which goes on and on, about other herons and other boats than before.\n" * 99)
    before = contents()
    status, err = resume(capsys, "--train.steps", "6", "--data", "other.txt")
    assert status == 2 and "the text is not the one that" in err
    assert contents() == before
    Path("elsewhere").mkdir()
    Path("text.txt").rename("elsewhere/text.txt")
    status, err = resume(capsys, "--train.steps", "6")
    assert status == 2 and "text.txt: there is no such" in err and "lies elsewhere now" in err
    assert resume(capsys, "--train.steps", "6", "--data", "elsewhere/text.txt")[0] == 0
    assert json.loads(Path("runs/r/config.json").read_text())["data"]["source"] == "elsewhere/text.txt"


@pytest.mark.usefixtures("at_home")
def test_what_changed_stays_on_record(capsys):
    status, err = resume(capsys, "--train.steps", "6", "--optim.lr", "0.001", "--train.batch-size", "4")
    assert status == 0 and "continued from step 4" in err
    starts = json.loads(Path("runs/r/env.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 4]
    assert starts[1]["changes"] == {"train.steps": [4, 6], "train.batch_size": [2, 4], "optim.lr": [0.003, 0.001]}
    config = json.loads(Path("runs/r/config.json").read_text())
    assert (config["train"]["batch_size"], config["optim"]["lr"]) == (4, 0.001)
    assert json.loads(Path("runs/r/results.json").read_text())["steps"] == 6
    assert main(["report", "r"]) == 0
    page = " ".join(Path("runs/r/report.html").read_text().split())
    assert "from step 4 on" in page and "optim.lr = 0.001 (before: 0.003)" in page
    assert resume(capsys)[0] == 0  # finished again


@pytest.mark.usefixtures("at_home")
def test_a_run_that_was_killed_before_its_scores_is_finished(capsys):
    Path("runs/r/results.json").unlink()
    status, err = resume(capsys)
    assert status == 0 and "finished already" not in err
    assert json.loads(Path("runs/r/results.json").read_text())["steps"] == 4


def test_fields_that_differ():
    one = RunConfig()
    other = dataclasses.replace(one, optim=muon.Config(), train=TrainConfig(minutes=2.0))
    assert changed(one, one) == {}
    found = changed(one, other)
    assert found["train.steps"] == [1000, None] and found["train.minutes"] == [None, 2.0]
    assert found["optim.kind"] == ["adamw", "muon"] and found["optim.momentum"] == [None, 0.95]
