"""A head that gets a table of its own in training: exact when a run goes on, averaged, published."""

from __future__ import annotations

import pytest
import torch

from stlm.compress import write_compressed
from stlm.compress.publish import Config as Publish
from stlm.config.decode import decode
from stlm.model.count import count
from stlm.train.checkpoint import open_checkpoint
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback
from stlm.train.run_config import RunConfig
from tests.train.test_resuming import StopAt
from tests.train.tiny import tiny_config, tiny_trainer

SWITCH = 5  # the first step, counted from 0, of which this share of 12 is over


AVERAGING = {0.0: "none", 0.9: {"kind": "ema", "decay": 0.9}}


def late(**train):
    return decode(RunConfig, {"model": {"head": {"kind": "late", "at": 0.4}}}, tiny_config(**train))


class Tables(Callback):
    """Notes after each step whether the output's table is the input's, in the model and in what is evaluated."""

    def __init__(self) -> None:
        self.same: list[tuple[bool, bool]] = []

    def on_step_end(self, trainer):
        used = trainer.usable_model()
        self.same.append((bool(trainer.model.head.apart), torch.equal(used.table, used.head.table)))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_when_it_is_apart(tmp_path, ema):
    """It is a copy up to the first step with its own table, also of averaged weights, and differs from then on."""
    noted = Tables()
    tiny_trainer(tmp_path / "run", callbacks=[noted], config=late(averaging=AVERAGING[ema])).run()
    assert [apart for apart, _ in noted.same] == [step >= SWITCH for step in range(12)]
    assert [same for _, same in noted.same] == [step < SWITCH for step in range(12)]


def test_its_own_table_is_updated_as_the_one_that_it_succeeds(tmp_path):
    """What the optimizer knows of the input table is true of the copy as well."""
    trainer = tiny_trainer(tmp_path / "run", config=late())
    model, (optimizer,) = trainer.model, trainer.optimizers
    for _ in range(SWITCH):
        trainer.advance()
    old = {name: value.clone() for name, value in optimizer.state[model.table].items()}
    trainer.advance()
    new = optimizer.state[model.head.table]
    assert new["step"] == old["step"] + 1 == optimizer.state[model.table]["step"]
    grad = (new["exp_avg"] - 0.9 * old["exp_avg"]) / 0.1
    torch.testing.assert_close(new["exp_avg_sq"], 0.95 * old["exp_avg_sq"] + 0.05 * grad ** 2, rtol=1e-3, atol=1e-8)
    assert float(old["exp_avg"].abs().max()) > 0


@pytest.mark.parametrize("stop", [3, SWITCH, SWITCH + 1, 8])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_goes_on_exactly(tmp_path, ema, stop):
    whole = tiny_trainer(tmp_path / "whole", config=late(averaging=AVERAGING[ema]))
    whole.run()
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(stop)], config=late(averaging=AVERAGING[ema])).run()
    again = tiny_trainer(tmp_path / "run", resume=True, config=late(averaging=AVERAGING[ema]))
    again.run()
    for one, other in ((whole.model, again.model), *([(whole.ema, again.ema)] if ema else [])):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("stop", [3, 8])
def test_a_published_model_scores_the_same(tmp_path, stop):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[StopAt(stop)], config=late())
    trainer.run()
    saved = RunFolder(tmp_path / "run").latest()
    write_compressed(saved, tmp_path / "small", Publish())
    for model in (saved.build_model(), open_checkpoint(tmp_path / "small").build_model()):
        assert torch.equal(model.table, model.head.table) == (stop == 3)
        torch.testing.assert_close(model.head.table, trainer.usable_model().head.table, rtol=1e-2, atol=1e-2)
        assert bool(model.head.apart) == (stop == 8)


def test_a_run_that_is_made_longer_keeps_its_own_table(tmp_path):
    tiny_trainer(tmp_path / "run", config=late(averaging="none")).run()
    longer = tiny_trainer(tmp_path / "run", resume=True, config=late(averaging="none", steps=100))
    before = longer.model.head.table.clone()
    longer.advance()
    assert longer.progress() < 0.4 and bool(longer.model.head.apart)
    assert not torch.equal(longer.model.table, longer.model.head.table)
    assert float((longer.model.head.table - before).detach().abs().max()) < 0.1


def test_both_tables_are_stored_and_counted(tmp_path):
    model = tiny_trainer(tmp_path / "run", config=late()).model
    assert count(model).unique - count(tiny_trainer(tmp_path / "tied").model).unique == model.table.numel() > 0
