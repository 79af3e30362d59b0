"""The search for a learning rate: which one it takes, that the run then is as if the rate had been given, and what it costs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from stlm.cli import main
from stlm.errors import UserError
from stlm.optim import adamw, muon
from stlm.train import rates
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer
from tests.optim.variants import CONFIGS
from tests.train.tiny import TINY, tiny_config, tiny_trainer

STEPS, LENGTH = 40, 4  # of the run, of a trial


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rates, "LEAST", LENGTH)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer):
        trainer.stop = trainer.step >= self.step


def auto(optim=None, **train):
    config = tiny_config(**{"steps": STEPS, "checkpoint_every": 1000, **train})
    return dataclasses.replace(config, optim=dataclasses.replace(optim or adamw.Config(), lr="auto"))


def files(folder: Path) -> dict[str, bytes]:
    last = RunFolder(folder).latest().folder
    return {path.name: path.read_bytes() for path in last.iterdir() if path.name != "trainer.json"}


# --- the choice

@pytest.mark.parametrize(("losses", "horizon", "taken"), [
    ([3, 2, 1, 2, 3], 1.0, 0.004), ([3, 2, 1, 2, 3], 0.5, 0.002), ([1, 2, 3, 4, 5], 1.0, 0.001), ([5, 4, 3, 2, 1], 1.0, 0.016),
    ([3, 2, 1, None, None], 1.0, 0.004), ([3, 2, 1, None, 0.5], 1.0, 0.016), ([None, None, None, None, 9], 1.0, 0.016),
    ([4, 1, 0, 1, 4], 1.0, 0.004), ([9.0, 2.25, 0.25, 0.25, 2.25], 1.0, 0.00566), ([None] * 5, 1.0, None)], ids=str)
def test_the_lowest_loss_wins(losses, horizon, taken):
    assert rates.best_rate([0.001, 0.002, 0.004, 0.008, 0.016], losses, horizon) == taken


def test_the_lowest_point_of_a_parabola():
    """Wherever it is between the rates."""
    tried = [0.01 * 2**n for n in range(-2, 3)]
    for lowest in (-1.2, -0.5, -0.1, 0.0, 0.3, 0.77, 1.4):
        losses = [(n - lowest) ** 2 for n in range(-2, 3)]
        assert rates.best_rate(tried, losses, 1.0) == pytest.approx(0.01 * 2**lowest, rel=0.005)


# --- the run

@pytest.mark.parametrize("name", ["adamw", "muon normalized", "soap"])
def test_the_run_is_as_if_the_rate_had_been_given(tmp_path, name):
    """Bit for bit: weights, averages, the optimizer's state and the description."""
    trainer = tiny_trainer(tmp_path / "found", config=auto(CONFIGS[name]))
    found = trainer.config.optim.lr
    assert trainer.step == 0 and isinstance(found, float)
    trainer.run()
    given = dataclasses.replace(auto(), optim=dataclasses.replace(CONFIGS[name], lr=found))
    tiny_trainer(tmp_path / "given", config=given).run()
    assert files(tmp_path / "found") == files(tmp_path / "given")


def test_it_goes_on_exactly_with_the_rate_that_was_found(tmp_path):
    tiny_trainer(tmp_path / "whole", config=auto()).run()
    tiny_trainer(tmp_path / "cut", config=auto(), callbacks=[StopAt(7)]).run()
    again = tiny_trainer(tmp_path / "cut", config=auto(), resume=True)
    assert again.config.optim == RunFolder(tmp_path / "cut").latest().config.optim and again.changes == {}
    again.run()
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_rates_differ_and_a_sensible_one_is_taken(tmp_path):
    """At a quarter of the default a run this short has learned less."""
    trainer = tiny_trainer(tmp_path / "run", config=auto(steps=400))
    search = trainer.decisions.rate_search
    assert search.rates == (0.0005, 0.001, 0.002, 0.004, 0.008) and search.steps == 8
    assert len(set(search.losses)) == 5 and search.losses[0] == max(search.losses)
    best = search.rates[search.losses.index(min(search.losses))]
    assert search.taken == pytest.approx(best * (8 / 400) ** rates.HORIZON, rel=0.42)


def test_what_diverges_never_wins(tmp_path, monkeypatch):
    advance, limit = Trainer.advance, 0.003

    def broken_by_high_rates(trainer):
        advance(trainer)
        if trainer.step == 2 and trainer.config.optim.lr > limit:
            with torch.no_grad():
                trainer.trained[0].fill_(float("nan"))
    monkeypatch.setattr(Trainer, "advance", broken_by_high_rates)
    trainer = tiny_trainer(tmp_path / "run", config=auto())
    search = trainer.decisions.rate_search
    assert search.losses[3:] == (None, None) and None not in search.losses[:3]
    assert trainer.config.optim.lr <= 0.002 and trainer.notes[-1].endswith("0.004: diverged, 0.008: diverged")
    assert all(bool(weight.isfinite().all()) for weight in [*trainer.trained, *trainer.ema.parameters()])
    trainer.run()
    assert json.loads((tmp_path / "run" / "env.json").read_text())["decided"]["rate_search"]["losses"][3] is None
    limit = 0.0
    with pytest.raises(UserError, match=r"training diverges at all rates from 0\.0005 to 0\.008; give a lower one"):
        tiny_trainer(tmp_path / "other", config=auto())


def test_a_short_run_is_told_that_it_is_too_short(tmp_path):
    with pytest.raises(UserError, match=r"too short, for it has 39 steps, and trying rates takes 20; leave --optim\.lr out"):
        tiny_trainer(tmp_path / "run", config=auto(muon.Config(), steps=39))


@pytest.fixture
def slow_steps(monkeypatch):
    """Every step takes half a second, by the run's clock."""
    advance = Trainer.advance

    def by_a_clock(trainer):
        before = trainer.counters.spent
        advance(trainer)
        trainer.counters.spent = before + 0.5
    monkeypatch.setattr(Trainer, "advance", by_a_clock)


@pytest.mark.usefixtures("slow_steps")
def test_the_length_in_minutes_is_known_by_a_trial(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", config=auto(steps=None, minutes=5.0))  # 600 steps
    assert trainer.decisions.rate_search.steps == 12 and trainer.total is None
    trainer = tiny_trainer(tmp_path / "limited", config=auto(steps=100_000, max_minutes=5.0))
    assert trainer.decisions.rate_search.steps == 12 and trainer.step == 0 and trainer.progress() < 0.2


@pytest.mark.usefixtures("slow_steps")
def test_progress_begins_after_it(tmp_path):
    """Whatever falls or changes over the run does so from its first step on."""
    for length in ({"teraflops": 0.0008}, {"minutes": 2.0}, {"steps": 100_000, "max_minutes": 2.0}):
        trainer = tiny_trainer(tmp_path / str([*length]), config=auto(**{"steps": None, **length}))
        assert trainer.counters.spent > 0 and trainer.progress() == 0
        counters, flops = trainer.counters, 1e12 * length.get("teraflops", math.inf)
        counters.spent = (counters.search_seconds + 120.0) / 2
        counters.flops = (counters.search_flops + flops) / 2
        assert trainer.progress() == pytest.approx(0.5)


# --- what it costs

def test_its_cost_counts(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", config=auto())
    search, counters = trainer.decisions.rate_search, trainer.counters
    assert (counters.step, counters.rows) == (0, 0)
    assert counters.spent == search.seconds > 0 and counters.flops == search.flops > 0
    first = [trainer.source.probe(step) for step in range(LENGTH)]
    assert counters.n_bytes == search.n_bytes == counters.searched == 5 * sum(int(batch.total_bytes) for batch in first)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 3 and lines[0]["bytes"] > search.n_bytes and lines[0]["seconds"] > search.seconds


def test_a_length_in_bytes_or_flops_includes_it(tmp_path):
    plain = tiny_trainer(tmp_path / "plain", config=tiny_config(steps=None, megabytes=0.01))
    trainer = tiny_trainer(tmp_path / "bytes", config=auto(steps=None, megabytes=0.01))
    assert 15 <= plain.total - trainer.total <= 25  # five trials of four steps
    trainer.run()
    assert trainer.counters.n_bytes == pytest.approx(10_000, abs=150) and trainer.progress() == 1
    trainer = tiny_trainer(tmp_path / "flops", config=auto(steps=None, teraflops=0.0008))
    before = trainer.counters.flops / 8e8
    trainer.run()
    assert 0.1 < before < 0.6 and 8e8 <= trainer.counters.flops < 9e8


def test_a_start_that_saved_no_step_keeps_rate_and_cost(tmp_path):
    first = tiny_trainer(tmp_path / "run", config=auto())
    first.ranks.begin = lambda patience: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    again = tiny_trainer(tmp_path / "run", config=first.config)
    assert again.decisions.rate_search == first.decisions.rate_search and again.counters == first.counters


# --- the command

@pytest.fixture
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stlm.cli.train.write_report", lambda folder: None)
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 4", f"steps = {STEPS}"))
    (tmp_path / "text.txt").write_text("".join(f"The heron waited for {n} boats; the cat found {n % 7}.\n" for n in range(150)))


TRAIN = ["train", "tiny.toml", "--data", "text.txt", "--name", "r", "--optim.lr", "auto"]


@pytest.mark.usefixtures("at_home")
def test_the_command_says_what_it_tried_and_keeps_it(capsys):
    assert main(TRAIN) == 0
    err = " ".join(capsys.readouterr().err.split())
    decided = json.loads(Path("runs/r/env.json").read_text())["decided"]["rate_search"]
    assert f"learning rate {decided['taken']:g}, found in" in err and "0.0005: " in err and "0.008: " in err
    assert json.loads(Path("runs/r/config.json").read_text())["optim"]["lr"] == decided["taken"]
    assert json.loads(Path("runs/r/results.json").read_text())["trained_bytes"] > decided["n_bytes"]
    assert main([*TRAIN, "--resume"]) == 0 and "finished already" in capsys.readouterr().err
    assert main([*TRAIN, "--resume", "--train.steps", "42"]) == 0
    Path("runs/r/env.json").write_text("{}")  # as if the rate had been given
    assert main([*TRAIN, "--resume", "--train.steps", "43"]) == 2
    assert "auto has an effect only at the start; leave it out" in capsys.readouterr().err
    assert json.loads(Path("runs/r/config.json").read_text())["optim"]["lr"] == decided["taken"]


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()], ids=["ctrl-c", "memory"])
def test_a_search_that_is_ended_leaves_nothing(monkeypatch, error):
    advance, done = Trainer.advance, []

    def ended(trainer):
        done.append(trainer.step)
        if len(done) == 10:
            raise error
        advance(trainer)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", ended)
        assert main(TRAIN) in (2, 130)
    assert not Path("runs/r").exists()
    assert main([*TRAIN, "--resume"]) == 0
    assert math.isfinite(json.loads(Path("runs/r/config.json").read_text())["optim"]["lr"])
    assert torch.load(RunFolder(Path("runs/r")).latest().folder / "optimizer.pt", weights_only=True)
