"""Means of weights: they are the means they say they are, for runs of every length, wherever a run was stopped."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch

from stlm.averaging import AveragingConfig, Moment, ema, epochs, none, tail
from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.errors import UserError
from stlm.evaluate.validation import Validation
from stlm.train.checkpoint import EMA, open_checkpoint, sha256
from stlm.train.folder import SHIPPED, RunFolder, find_checkpoint
from stlm.train.loop import Callback
from stlm.train.older import in_todays_words
from stlm.train.run_config import RunConfig
from tests.train.tiny import tiny_config, tiny_trainer

KINDS = {"ema": {"kind": "ema", "decay": 0.8}, "tail": {"kind": "tail", "share": 0.5}, "epochs": {"kind": "epochs", "n": 2}}
EPOCHS = {"steps": None, "epochs": 3.0, "checkpoint_every": 10**6}


class Notes(Callback):
    """Notes the weights after each step, and stops at one."""

    def __init__(self, stop: int = 10**9) -> None:
        self.weights, self.used, self.at, self._stop = list[torch.Tensor](), list[torch.Tensor](), list[float](), stop

    def on_step_end(self, trainer):
        self.weights.append(trainer.model.table.detach().clone())
        self.used.append(trainer.usable_model().table.clone())
        self.at.append(trainer.progress())
        trainer.stop = trainer.step >= self._stop


def mean(weights):
    return torch.stack(weights).double().mean(dim=0).float()


def test_kinds_are_tried():
    assert kinds(AveragingConfig) == sorted([*KINDS, "none"])


@pytest.mark.parametrize(("share", "steps", "last"), [(0.25, 12, 3), (0.2, 10, 2), (0.3, 10, 3), (1.0, 5, 5), (0.01, 8, 1),
                                                      (0.1, 30, 3)])
def test_a_tail_is_the_mean_of_the_last_steps(tmp_path, share, steps, last):
    notes = Notes()
    trainer = tiny_trainer(tmp_path / "run", callbacks=[notes], averaging={"kind": "tail", "share": share}, steps=steps)
    trainer.run()
    if last > 1 or share >= 1 / steps:
        torch.testing.assert_close(trainer.usable_model().table, mean(notes.weights[-last:]))
        assert trainer.counters.averaged == last
    else:
        assert torch.equal(trainer.usable_model().table, notes.weights[-1]) and trainer.counters.averaged == 0
    for weights, used in list(zip(notes.weights, notes.used, strict=True))[:steps - last]:
        assert torch.equal(weights, used)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_epochs_are_counted_back_from_the_end(tmp_path, n):
    notes = Notes()
    trainer = tiny_trainer(tmp_path / "run", callbacks=[notes], averaging={"kind": "epochs", "n": n}, **EPOCHS)
    trainer.run()
    ends = [next(i for i, at in enumerate(notes.at) if at >= (k - 0.02) / 3) for k in range(1, 4)][-n:]
    assert trainer.counters.averaged == len(ends) == min(n, 3)
    found = [i for i in range(len(notes.at)) if not torch.equal(notes.used[i], notes.used[i - 1])][-len(ends):]
    near = mean([notes.weights[i] for i in ends])
    # a step more or less, because steps don't end where epochs do
    others = [mean([notes.weights[min(i + shift, len(notes.at) - 1)] for i in ends]) for shift in (-1, 1)]
    distance = (trainer.usable_model().table - near).norm()
    assert distance <= max((other - near).norm() for other in others) + 1e-6, (ends, found)


def test_ends_of_epochs_have_to_be_foreseen(tmp_path):
    batches = {"kind": "text", "first_batch": 0.5}
    for length, refused in (({"steps": 6}, True), ({"epochs": 2.0, "steps": None}, False)):
        config = decode(RunConfig, {"batches": batches}, tiny_config(averaging=KINDS["epochs"], grad_accum=2, **length))
        with pytest.raises(UserError, match="set --train.epochs") if refused else contextlib.nullcontext():
            tiny_trainer(tmp_path / str(refused), config=config)


def test_an_ema_is_that_of_its_formula(tmp_path):
    notes = Notes()
    trainer = tiny_trainer(tmp_path / "run", callbacks=[notes], averaging=KINDS["ema"], steps=6)
    trainer.run()
    expected = torch.zeros_like(notes.weights[0])
    for count, weights in enumerate(notes.weights):
        rate = max(0.2, 1 / (count + 1))  # the plain mean at first
        expected = (1 - rate) * expected + rate * weights
    torch.testing.assert_close(trainer.usable_model().table, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [{"steps": 12}, {"minutes": 0.006}, {"megabytes": 0.003}, {"epochs": 1.5},
                                    {"teraflops": 0.0002}, {"steps": 10**6, "max_minutes": 0.006}], ids=str)
def test_every_length(tmp_path, kind, length):
    trainer = tiny_trainer(tmp_path / "run", averaging=KINDS[kind], **{"steps": None, **length, "checkpoint_every": 10**6})
    trainer.run()
    assert trainer.counters.averaged > 0 and trainer.used is trainer.ema
    assert not torch.equal(trainer.ema.table, trainer.model.table) or (kind == "epochs" and trainer.counters.averaged == 1)
    assert torch.equal(RunFolder(tmp_path / "run").latest().build_model().table, trainer.ema.table)


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    """A run that was never stopped."""
    trainer = tiny_trainer(tmp_path_factory.mktemp(request.param) / "run", averaging=KINDS[request.param], **EPOCHS)
    trainer.run()
    return request.param, trainer


def test_going_on_equals_never_stopping(tmp_path, whole):
    kind, undisturbed = whole
    for cut in (1, undisturbed.step // 2, 2 * undisturbed.step // 3 + 1, undisturbed.step - 1):
        tiny_trainer(tmp_path / f"{cut}", callbacks=[Notes(cut)], averaging=KINDS[kind], **EPOCHS).run()
        saved = RunFolder(tmp_path / f"{cut}").latest()
        assert (saved.folder / EMA).exists() == (saved.counters["averaged"] > 0)
        again = tiny_trainer(tmp_path / f"{cut}", averaging=KINDS[kind], resume=True, **EPOCHS)
        again.run()
        assert again.counters.averaged == undisturbed.counters.averaged, cut
        for name, value in undisturbed.ema.state_dict().items():
            assert torch.equal(value, again.ema.state_dict()[name]), (cut, name)


def test_a_longer_run_begins_its_mean_anew(tmp_path):
    tiny_trainer(tmp_path / "run", averaging=KINDS["tail"], steps=8).run()
    notes = Notes()
    longer = tiny_trainer(tmp_path / "run", averaging=KINDS["tail"], steps=20, resume=True, callbacks=[notes])
    longer.run()
    assert longer.counters.averaged == 10
    torch.testing.assert_close(longer.usable_model().table, mean(notes.weights[-10:]))
    assert torch.equal(notes.used[0], notes.weights[0])


@pytest.mark.parametrize("before", ["none", *KINDS])
@pytest.mark.parametrize("after", ["none", *KINDS])
def test_another_mean_may_be_taken_later(tmp_path, before, after):
    notes = Notes()
    tiny_trainer(tmp_path / "run", averaging=KINDS.get(before, "none"), steps=6).run()
    trainer = tiny_trainer(tmp_path / "run", averaging=KINDS.get(after, "none"), steps=16, resume=True, callbacks=[notes])
    trainer.run()
    assert (trainer.used is trainer.model) == (after == "none")
    if after == "tail":
        torch.testing.assert_close(trainer.usable_model().table, mean(notes.weights[-8:]))


def test_a_run_that_ends_before_its_tail_uses_its_weights(tmp_path):
    """And what is kept on the way is what is used."""
    class Worse(Validation):
        def _score(self, trainer, model):
            return 2.0 + trainer.step, 100

    trainer = tiny_trainer(tmp_path / "run", averaging=KINDS["tail"], callbacks=[Worse()], stop_after=2, evaluate_every=1)
    trainer.run()
    assert trainer.step == 3 and trainer.used is trainer.model
    assert not (RunFolder(tmp_path / "run").latest().folder / EMA).exists()


def test_minutes_whose_epochs_are_guessed():
    """However wrong the guess, the mean has at most n weights and the last is there."""
    for n in (1, 2, 5):
        count, config = 0, epochs.Config(n=n)
        for step in range(1, 401):
            guess = 1 + 0.2 * ((step * 7919) % 11) / 11
            rate = config.rate(Moment((step - 1) / 400, step / 400, 8 * step / 400 * guess), count)
            count = 0 if rate is None else count + (rate > 0)
        assert count == n
    assert tail.Config().rate(Moment(0.8, 0.81, 0.0), 4) == 1 / 5 and tail.Config().rate(Moment(0.79, 0.8, 0.0), 4) is None
    assert ema.Config(decay=0.75).rate(Moment(0, 1, 1), 9) == 0.25 and none.Config().rate(Moment(0, 1, 1), 0) is None
    assert epochs.Config().rate(Moment(0, 0, 0), 0) is None


# --- what older versions wrote


def test_the_model_that_is_shipped_is_read():
    config = json.loads((SHIPPED / "10m-en" / "config.json").read_text())
    assert config["train"]["ema"] == 0.0
    assert find_checkpoint("10m-en").config.train.averaging == none.Config()


@pytest.mark.parametrize(("decay", "averaging"), [(0.0, none.Config()), (0, none.Config()), (0.9, ema.Config(decay=0.9))])
def test_a_decay_is_in_todays_words(tmp_path, decay, averaging):
    tiny_trainer(tmp_path / "run", steps=4).run()
    path = RunFolder(tmp_path / "run").latest().folder
    for file in (path / "config.json", tmp_path / "run" / "config.json"):
        values = json.loads(file.read_text())
        del values["train"]["averaging"]
        values["train"]["ema"] = decay
        file.write_text(json.dumps(values))
    record = json.loads((path / "trainer.json").read_text())
    del record["averaged"]
    record["sha256"]["config.json"] = sha256(path / "config.json")
    (path / "trainer.json").write_text(json.dumps(record))
    assert open_checkpoint(path).config.train.averaging == RunFolder(tmp_path / "run").config().train.averaging == averaging
    kept = {} if decay else {"averaging": "none"}
    again = tiny_trainer(tmp_path / "run", resume=True, steps=6, **kept)
    again.run()
    assert (again.used is again.ema) == bool(decay)


@pytest.mark.parametrize("values", [None, [], {}, {"train": 3}, {"train": {}}, {"train": {"ema": 0.5, "averaging": "tail"}}],
                         ids=str)
def test_what_is_no_description_stays(values):
    assert in_todays_words(values) == values
