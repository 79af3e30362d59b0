"""The loop: it learns, it is exact to resume, and faults end it cleanly."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stlm.config.decode import decode
from stlm.data.shards import Shard
from stlm.data.stream import Stream
from stlm.errors import UserError
from stlm.evaluate.callbacks import Samples, opening
from stlm.evaluate.validation import Validation
from stlm.model.model_config import ModelConfig
from stlm.model.patching.entropy import reader
from stlm.objective import causal
from stlm.optim import adamw, muon
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train import compiling, loop, machine
from stlm.train.checkpoint import list_checkpoints, open_checkpoint
from stlm.train.folder import EXCERPT_BITS, RunFolder, read_lines
from stlm.train.loop import Callback
from stlm.train.run_config import RunConfig
from tests.conftest import shard_of, small_model
from tests.optim.variants import CONFIGS
from tests.train.tiny import STORY, tiny_config, tiny_corpus, tiny_trainer

ROOT = Path(__file__).parent.parent.parent


class StopAt(Callback):
    """Ask the run to stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer):
        trainer.stop = trainer.step >= self.step


def weights(path, step):
    return (path / "checkpoints" / f"step_{step:07d}" / "model.safetensors").read_bytes()


def losses(path):
    return [(r["step"], r["train/loss"]) for r in read_lines(path / "metrics.jsonl") if "train/loss" in r]


def test_it_learns(tmp_path):
    config = dataclasses.replace(tiny_config(steps=60, warmup=5), optim=adamw.Config(lr=0.02))
    trainer = tiny_trainer(tmp_path / "run", config=config)
    trainer.run()
    figures = losses(tmp_path / "run")
    assert figures[-1][1] < 0.6 * figures[0][1]
    assert trainer.step == 60


@pytest.mark.parametrize(("optim", "train"), [
    *(pytest.param(optim, {}, id=name) for name, optim in CONFIGS.items()),
    *(pytest.param(CONFIGS[name], {"grad_accum": 2}, id=f"{name} in parts") for name in ("adamw", "muon")),
    *(pytest.param(adamw.Config(), {"schedule": shape, "weight_decay_schedule": shape, "cooldown": 1.0}, id=shape)
      for shape in ("cosine", "sqrt", "triangle")),
    pytest.param(muon.Config(), {"weight_decay_schedule": "early"}, id="early")])
def test_going_on_equals_never_stopping_bit_for_bit(tmp_path, optim, train):
    config = dataclasses.replace(tiny_config(**train), optim=optim)
    tiny_trainer(tmp_path / "whole", config=config).run()
    tiny_trainer(tmp_path / "cut", config=config, callbacks=[StopAt(5)]).run()
    assert [p.name for p in list_checkpoints(tmp_path / "cut" / "checkpoints")] == ["step_0000004", "step_0000005"]
    torch.manual_seed(999)
    tiny_trainer(tmp_path / "cut", config=config, resume=True).run()
    assert weights(tmp_path / "cut", 12) == weights(tmp_path / "whole", 12)
    for name in ("ema.safetensors", "optimizer.pt"):
        both = [(tmp_path / run / "checkpoints" / "step_0000012" / name).read_bytes() for run in ("cut", "whole")]
        assert both[0] == both[1]
    assert losses(tmp_path / "cut")[-1] == losses(tmp_path / "whole")[-1]


PARTS = {
    "entropy": {"patching": {"kind": "entropy", "dim": 4, "layers": 1}},
    "dynamic": {"patching": {"kind": "dynamic", "target": 3}}, "parallel": {"head": "parallel", "decoder_layers": 0},
    "pooling": {"pooling": {"kind": "attention", "heads": 2}},
    "copying": {"embedding": "recall", "copying": "pointer"}, "linear": {"trunk": "linear", "local": "linear"},
    "early_exit": {"layers": 3, "depth": "early_exit"}, "mixture": {"layers": 4, "depth": "mixture"},
    "skip": {"layers": 3, "depth": "skip"}, "loop_from": {"layers": 4, "sharing": {"kind": "all", "rank": 2, "loop_from": 0.5}},
}

SPENT = {"steps": None, "teraflops": 0.00006, "evaluate_every": 4}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(("part", "length"), [
    *((part, {"steps": 6}) for part in PARTS), ("skip", SPENT), pytest.param("dynamic", SPENT, marks=pytest.mark.slow),
    pytest.param("loop_from", SPENT, marks=pytest.mark.slow)], ids=str)
def test_every_part_goes_on_bit_for_bit(tmp_path, monkeypatch, part, length):
    """FLOPs, which end a run that is given teraflops, included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "RECOUNT", 4)
    config = tiny_config(**length)
    if part == "entropy":
        tiny_trainer(tmp_path / "runs" / "reader", config=dataclasses.replace(tiny_config(steps=4), model=reader(4, 1))).run()
    config = dataclasses.replace(config, model=decode(ModelConfig, PARTS[part], config.model))
    whole = tiny_trainer(tmp_path / "whole", config=config)
    whole.run()
    tiny_trainer(tmp_path / "cut", config=config, callbacks=[StopAt(3)]).run()
    torch.manual_seed(999)
    cut = tiny_trainer(tmp_path / "cut", config=config, resume=True)
    cut.run()
    cut_spent, whole_spent = (dataclasses.replace(one.counters, spent=0) for one in (cut, whole))
    assert cut_spent == whole_spent and whole.step > 4
    for one, other in ((cut.model, whole.model), (cut.ema, whole.ema)):
        assert same(one.state_dict(), other.state_dict())
    both = [RunFolder(tmp_path / run).latest().optimizer() for run in ("cut", "whole")]
    assert both[0].keys() == both[1].keys() == {"optimizers", "batches"}
    for one, other in zip(both[0]["optimizers"], both[1]["optimizers"], strict=True):
        assert one["param_groups"] == other["param_groups"] and one["state"].keys() == other["state"].keys()
        for number, state in one["state"].items():
            assert same(state, other["state"][number])


class Decays(Callback):
    """Notes the weight decay of matrices and of the rest in each step."""

    def __init__(self) -> None:
        self.found: list[tuple[float, float]] = []

    def on_step_end(self, trainer):
        first, *_, last = trainer.optimizers[0].param_groups
        self.found.append((first["weight_decay"], last["weight_decay"]))


@pytest.mark.parametrize(("shape", "shares"), [("constant", [1] * 8), ("linear", [1 - step / 8 for step in range(8)]),
                                               ({"kind": "early", "until": 0.5}, [1] * 4 + [0] * 4)], ids=str)
def test_weight_decay_over_a_run(tmp_path, shape, shares):
    decays = Decays()
    tiny_trainer(tmp_path / "run", callbacks=[decays], steps=8, weight_decay_schedule=shape).run()
    assert decays.found == [(pytest.approx(0.1 * share), 0.0) for share in shares]


def test_the_rate_on_record_is_the_one_that_was_given(tmp_path):
    """Whatever multiples of it the groups of an optimizer have."""
    optim = {"lr": 0.004, "base_width": 1, "local_lr_mult": 0.5}
    trainer = tiny_trainer(tmp_path / "run", config=decode(RunConfig, {"optim": optim}, tiny_config(warmup=2, cooldown=0.0)))
    for _ in range(3):
        trainer.advance()
    assert trainer.figures()["train/learning_rate"] == pytest.approx(0.004)


def test_a_run_may_go_on_with_another_learning_rate(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(4)]).run()
    config = dataclasses.replace(tiny_config(), optim=adamw.Config(lr=1e-5))
    trainer = tiny_trainer(tmp_path / "run", config=config, resume=True)
    assert {group["peak_lr"] for group in trainer.optimizers[0].param_groups} == {1e-5}
    trainer.run()


def test_what_was_recorded_after_the_checkpoint_is_recorded_once(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[StopAt(7)], log_every=1)
    trainer.run()
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"step": 8, "train/loss": 1}\n{"step": 9, "tra')
    tiny_trainer(tmp_path / "run", resume=True, log_every=1).run()
    assert [step for step, _ in losses(tmp_path / "run")] == list(range(1, 13))


def test_watching_changes_nothing(tmp_path):
    shown = []
    watched = [Validation(), Samples(lambda step, text: shown.append((step, text)), 30)]
    tiny_trainer(tmp_path / "plain").run()
    tiny_trainer(tmp_path / "watched", callbacks=watched, evaluate_every=2, sample_every=3).run()
    assert weights(tmp_path / "plain", 12) == weights(tmp_path / "watched", 12)
    assert [step for step, _ in shown] == [3, 6, 9, 12]
    held_out = [r[EXCERPT_BITS] for r in read_lines(tmp_path / "watched" / "metrics.jsonl") if EXCERPT_BITS in r]
    assert len(held_out) == 6
    assert len(read_lines(tmp_path / "watched" / "samples.jsonl")) == 4


def test_samples_go_on_from_held_out_words_where_few_texts_begin():
    corpus = tiny_corpus()
    assert opening(corpus) == (STORY % (36, 7 * 36 % 11, 36 * 36 % 13))[:64].rpartition(b" ")[0]
    many = dataclasses.replace(corpus, train=shard_of([b"a"] * 100))
    assert opening(many) == b""
    letters = dataclasses.replace(corpus, validation=shard_of(["ж".encode() * 50 + b"."]))
    assert opening(letters) == "ж".encode() * 32


def test_micro_batches_add_up(tmp_path):
    """The gradient of split rows is that of the whole, also where the rows count unequally."""
    for n in (1, 2, 4):
        tiny_trainer(tmp_path / str(n), grad_accum=n, steps=9).run()
    for n in (2, 4):
        for (step, loss), (_, other) in zip(losses(tmp_path / "1"), losses(tmp_path / str(n)), strict=True):
            assert loss == pytest.approx(other, rel=1e-4), f"step {step}"


def test_a_run_by_the_clock_ends_near_its_time(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", steps=None, minutes=0.015, cooldown=0.5)
    trainer.run()
    assert 1.0 <= trainer.counters.spent / 0.9 < 1.6
    assert trainer.progress() == 1.0


def test_a_run_by_the_clock_may_be_given_more_time(tmp_path):
    tiny_trainer(tmp_path / "run", steps=None, minutes=0.004).run()
    longer = tiny_trainer(tmp_path / "run", steps=None, minutes=0.01, resume=True)
    begun = longer.step
    assert not longer.done
    longer.run()
    assert longer.step > begun
    assert longer.done


def test_precision_is_decided_once(tmp_path):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(1)], precision="auto").run()
    path = tmp_path / "run" / "env.json"
    record = json.loads(path.read_text())
    assert record["decided"]["precision"] in ("fp32", "bf16")
    assert record["decided"]["flops_per_byte"] > 0
    record["decided"]["precision"] = "bf16"
    path.write_text(json.dumps(record))
    assert tiny_trainer(tmp_path / "run", resume=True, precision="auto").decisions.precision == "bf16"


@pytest.mark.parametrize(("bf16", "tried"), [(1e9, {"fp32"}), (60e9, {"fp32", "bf16"})])
def test_bf16_that_is_emulated_is_not_tried(tmp_path, monkeypatch, bf16, tried):
    asked, step_work = set(), machine.step_work

    def watched(with_loss, batch, precision):
        asked.add(precision)
        return step_work(with_loss, batch, precision)

    monkeypatch.setattr(machine, "_product_flops", lambda device, precision, n: bf16 if precision == "bf16" else 80e9)
    monkeypatch.setattr(machine, "step_work", watched)
    assert tiny_trainer(tmp_path / "run", precision="auto").decisions.precision in tried
    assert asked == tried


@pytest.mark.parametrize("lacks", ["fp32", "bf16"])
def test_a_step_that_only_fits_in_bf16(tmp_path, monkeypatch, lacks):
    def little_memory(with_loss, batch, precision):
        if precision == lacks:
            raise torch.OutOfMemoryError("no room")
        return lambda: None

    trainer = tiny_trainer(tmp_path / "run")
    batch = trainer.source.probe()
    monkeypatch.setattr(machine, "_product_flops", lambda device, precision, n: 80e9)
    monkeypatch.setattr(machine, "step_work", little_memory)
    if lacks == "fp32":
        assert machine.faster_precision(trainer.with_loss, batch) == "bf16"
    else:
        with pytest.raises(torch.OutOfMemoryError):
            machine.faster_precision(trainer.with_loss, batch)


def test_a_machine_that_cannot_compile_trains_eagerly(tmp_path, monkeypatch):
    def no_compiler(model):
        raise RuntimeError("no C++ compiler was found")
    monkeypatch.setattr("stlm.train.compiling.compile_blocks", no_compiler)
    monkeypatch.setattr("stlm.train.decisions.PAYS_FROM", dict.fromkeys(compiling.WAYS, 0.0))
    trainer = tiny_trainer(tmp_path / "run", compile="auto")
    assert trainer.decisions.compile == "off"
    trainer.run()
    assert trainer.step == 12


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    tiny_trainer(tmp_path / "run", checkpoint_every=2, keep=3).run()
    assert [p.name for p in list_checkpoints(tmp_path / "run" / "checkpoints")] == [f"step_{n:07d}" for n in (8, 10, 12)]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    class Spoil(Callback):
        def on_step_end(self, trainer):
            if trainer.step == 6:
                trainer.model.table.data[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"step 7: the gradient is nan; step_0000004 is the last good checkpoint; "
                                        r"try a lower learning rate .* with --resume"):
        tiny_trainer(tmp_path / "run", callbacks=[Spoil()]).run()
    checkpoint = RunFolder(tmp_path / "run").latest()
    assert checkpoint.counters["step"] == 4
    assert all(p.isfinite().all() for p in checkpoint.build_model().parameters())


def test_the_averaged_weights_are_used(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.run()
    used = open_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[-1]).build_model()
    assert torch.equal(used.table, trainer.ema.table)
    assert not torch.equal(used.table, trainer.model.table)


def test_two_processes_do_not_train_one_run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(UserError, match="another process is training this run"):
        with folder.locked():
            pass


def test_other_text_is_refused(tmp_path, monkeypatch):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(2)]).run()
    other = dataclasses.replace(tiny_corpus(), contents="another")
    monkeypatch.setattr("tests.train.tiny.tiny_corpus", lambda: other)
    with pytest.raises(UserError, match="the text is not the one"):
        tiny_trainer(tmp_path / "run", resume=True)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra stlm[tracking] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stlm.train import trackers
    config = tiny_config(trackers=["tensorboard"])
    callbacks = trackers.build(config, RunFolder(tmp_path / "run"), print)
    tiny_trainer(tmp_path / "run", callbacks=callbacks, config=config).run()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [3, 6, 9, 12]


def test_trackers_that_are_not_there(tmp_path, monkeypatch):
    from stlm.train import trackers
    with pytest.raises(UserError, match="there is no tracker 'tensorbord' \\(did you mean 'tensorboard'"):
        trackers.build(tiny_config(trackers=["tensorbord"]), RunFolder(tmp_path), print)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match="needs a package that isn't installed"):
        trackers.build(tiny_config(trackers=["wandb"]), RunFolder(tmp_path), print)


@pytest.mark.slow
def test_compiled_training_learns_the_same_and_goes_on(tmp_path):
    """In processes of their own, because the check of shapes cannot be compiled."""
    def train(name: str, steps: int, compiled: str) -> None:
        subprocess.run([sys.executable, "-m", "tests.train.worker", str(tmp_path / name), str(steps), "4", compiled],
                       check=True, cwd=ROOT, env={**os.environ, "JAXTYPING_DISABLE": "1"}, stdout=subprocess.DEVNULL)
    train("eager", 12, "off")
    train("compiled", 6, "on")
    train("compiled", 12, "on")
    assert json.loads((tmp_path / "compiled" / "env.json").read_text())["decided"]["compile"] == "blocks"
    for (step, loss), (_, other) in zip(losses(tmp_path / "eager"), losses(tmp_path / "compiled"), strict=True):
        assert loss == pytest.approx(other, rel=0.02), f"step {step}"


@pytest.mark.parametrize("length", [{"megabytes": 0.004}, {"teraflops": 0.0002}])
def test_a_run_of_so_much_text_or_arithmetic(tmp_path, length):
    trainer = tiny_trainer(tmp_path / "run", steps=None, checkpoint_every=1000, **length)
    trainer.run()
    spent = {"megabytes": trainer.counters.n_bytes / 1e6, "teraflops": trainer.counters.flops / 1e12}
    for name, amount in length.items():
        assert spent[name] == pytest.approx(amount, rel=0.05)
    again = tiny_trainer(tmp_path / "run", steps=None, resume=True, **length)
    assert again.done and again.step == trainer.step and again.counters.flops == trainer.counters.flops


def test_what_a_byte_costs_is_counted_as_it_changes(tmp_path, monkeypatch):
    """Loops that come late cost nothing before."""
    monkeypatch.setattr(loop, "RECOUNT", 1)
    config = tiny_config(steps=8)
    model = decode(ModelConfig, {"layers": 4, "sharing": {"kind": "all", "loop_from": 0.5}}, config.model)
    trainer = tiny_trainer(tmp_path / "run", config=dataclasses.replace(config, model=model))
    costs, plain = [], trainer.advance
    trainer.advance = lambda: (costs.append(trainer.counters.flops_per_byte), plain())
    trainer.run()
    assert max(costs[:4]) < 0.8 * min(costs[5:])
    assert trainer.counters.flops == pytest.approx(sum(costs) / 8 * trainer.counters.n_bytes, rel=0.1)
    assert trainer.peak > 10e6


def test_what_a_byte_costs_in_longer_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RECOUNT", 1)
    changes = {"batches": {"kind": "text", "first_length": 0.125}, "model": {"patching": "none"}, "train": {"seq_len": 256}}
    trainer = tiny_trainer(tmp_path / "run", config=decode(RunConfig, changes, tiny_config(steps=8)))
    first = trainer.counters.flops_per_byte
    trainer.run()
    assert trainer.counters.flops_per_byte > 1.2 * first


def test_looking_changes_no_count(tmp_path, monkeypatch):
    """A model whose cost stays is counted once; where it changes, the interval of looks doesn't matter."""
    monkeypatch.setattr(loop, "RECOUNT", 3)
    for part in ({}, {"layers": 4, "sharing": {"kind": "all", "loop_from": 0.5}}):
        found = []
        for every in (1, 5):
            config = tiny_config(steps=8, evaluate_every=every)
            config = dataclasses.replace(config, model=decode(ModelConfig, part, config.model))
            run = tiny_trainer(tmp_path / f"run-{len(part)}-{every}", config=config, callbacks=[Validation()])
            assert run.model.flops_change == bool(part)
            run.run()
            found.append((run.counters.flops, run.counters.flops_per_byte == run.decisions.flops_per_byte))
        assert found[0] == found[1] and found[0][1] != bool(part)


def test_looks_are_at_one_model(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", steps=4)
    first = trainer.usable_model()
    before = first.table.clone()
    trainer.advance()
    assert trainer.usable_model() is first and not torch.equal(first.table, before)
    assert torch.equal(first.table, trainer.ema.table) and not first.training


def test_fused_attention_is_counted(monkeypatch):
    """As many operations as attention written out."""
    from stlm.nn.block import attention
    from stlm.train.machine import count_flops
    from stlm.train.model_with_loss import ModelWithLoss
    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    model = small_model(("none", "last", "conv", "tied"), tokenizer, trunk={"kind": "attention", "heads": 2}).float()
    batch = Stream(Shard.of([b"It rains. " * 30], tokenizer), tokenizer, 128, 2, 0).batch(0)
    written_out = count_flops(ModelWithLoss(model, causal.Causal()), batch)
    monkeypatch.setattr(attention, "SHORT", 0)
    fused = count_flops(ModelWithLoss(model, causal.Causal()), batch)
    assert fused == pytest.approx(written_out, rel=0.2) and fused > count_flops(ModelWithLoss(
        small_model(("none", "last", "conv", "tied"), tokenizer, trunk={"kind": "attention", "heads": 2, "window": 2}).float(),
        causal.Causal()), batch)
