"""A step on a GPU: it is one graph, nothing in it waits for a number, and it is compiled in the fastest way that works."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from stlm.batches import BatchPlan
from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.batch import Batch
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.room import from_tokens
from stlm.objective import ObjectiveConfig
from stlm.train import compiling, decisions, machine
from stlm.train.dropout import add_dropout
from stlm.train.gradients import GradientSum
from stlm.train.loop import Trainer
from stlm.train.model_with_loss import ModelWithLoss
from stlm.train.presets import PRESETS
from stlm.train.run_config import RunConfig
from tests.train.test_resuming import StopAt
from tests.train.tiny import tiny_config, tiny_corpus, tiny_trainer

# operations whose result the host reads, or whose shape depends on numbers
WAITS = ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "repeat_interleave", "unique",
         "unique_consecutive", "_unique2", "bincount")

RESIDUAL = {"model": {"layers": 3, "head": "late", "trunk": {"gates": True, "rope_share": 0.5}, "depth": {
    "kind": "residual", "unet": True, "ngrams": 64, "values": 64, "value_residual": True}}}
DROPOUT = {"train": {"dropout": {"embedding": 0.1, "residual": 0.1, "attention": 0.1, "layer": 0.1}}}


def small(preset: str) -> RunConfig:
    """The preset with the same kinds of parts, but small."""
    config = PRESETS[preset]()
    values = {"dim": 64, "layers": 2, "local_dim": 64 if config.model.dim == config.model.local_dim else 32,
              "embedding": {"rows": 64}, "trunk": {"heads": 2}}
    known = {name: value for name, value in values.items() if not isinstance(value, dict) or
             value.keys() <= {field.name for field in dataclasses.fields(getattr(config.model, name))}}
    return decode(RunConfig, {"model": known}, config)


def tiny_with_pointer(**train: object) -> RunConfig:
    parts = {"embedding": {"kind": "recall", "rows": 64}, "copying": "pointer"}
    return decode(RunConfig, {"model": parts}, tiny_config(**train))


def step_of(config: RunConfig, few: bool = True) -> tuple[ModelWithLoss, Batch]:
    """A step of a model with weights drawn at random, and a batch for it."""
    corpus = tiny_corpus()
    torch.manual_seed(3)
    model, objective = LM(config.model, corpus.tokenizer), config.objective.build(corpus.tokenizer, config.model)
    add_dropout(model, config.train.dropout)
    for parameter in (*model.parameters(), *objective.parameters()):
        torch.nn.init.normal_(parameter, std=0.2)
    source = config.batches.build(BatchPlan(corpus, objective, 96, 2, 1, 7, from_tokens(model, few)))
    return ModelWithLoss(model, objective), source.probe()


def outcome(with_loss: ModelWithLoss, batch: Batch) -> dict[str, torch.Tensor]:
    """Loss, figures and gradients of a step."""
    with_loss.zero_grad()
    loss = with_loss(batch)
    loss.total.backward()
    return {"total": loss.total.detach(), "count": loss.count, "figures": loss.figures,
            **{name: parameter.grad.clone() for name, parameter in with_loss.named_parameters() if parameter.grad is not None}}


def operations_of(with_loss: ModelWithLoss, batch: Batch) -> list[str]:
    """The operations of forward and backward, traced as one graph each. It fails where they aren't, or compute another step."""
    found: list[str] = []

    def keep(graph: torch.fx.GraphModule, inputs: object):
        found.extend(node.target.__name__ for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)

    torch.compiler.reset()
    traced = torch.compile(with_loss, fullgraph=True, dynamic=False, backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    expected = outcome(with_loss, batch)
    for name, value in outcome(traced, batch).items():
        torch.testing.assert_close(value, expected[name.removeprefix("_orig_mod.")], rtol=1e-5, atol=1e-6, msg=name)
    return found


def waiting(operations: list[str]) -> list[str]:
    return [name for name in operations if name.split(".")[0] in WAITS]


# --- one graph

@pytest.mark.parametrize("preset", ["10m", *(pytest.param(name, marks=pytest.mark.slow) for name in (
    "demo", "50m", "100m", "10m-shared", "50m-shared", "100m-shared", "10m-flat", "10m-bpe", "reader"))])
def test_a_step_is_one_graph_in_which_nothing_waits(preset):
    operations = operations_of(*step_of(small(preset)))
    assert len(operations) > 300 and not waiting(operations)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [
    *({"objective": kind} for kind in kinds(ObjectiveConfig)), DROPOUT, RESIDUAL, {"model": {"depth": "mixture", "layers": 3}},
    {"model": {"patching": "stride"}}, {"model": {"pooling": "attention"}},
    {"model": {"sharing": "cycle", "layers": 4}}], ids=str)
def test_further_kinds_are_one_graph(fields):
    assert not waiting(operations_of(*step_of(decode(RunConfig, fields, small("10m")))))


@pytest.mark.parametrize("fields", [{"model": {"depth": "early_exit"}}, {"model": {"depth": "skip"}},
                                    {"model": {"patching": "dynamic"}}], ids=str)
def test_kinds_that_need_the_host_are_no_graph(fields):
    with pytest.raises(Exception, match="(?i)data.dependent|dynamic shape|unsupported|graph break|tolist|item"):
        operations_of(*step_of(decode(RunConfig, fields, small("10m"))))


def test_without_room_for_pairs_a_step_waits():
    """The tests above can fail."""
    assert "repeat_interleave.Tensor" in waiting(operations_of(*step_of(tiny_with_pointer(), few=False)))


def test_what_changes_in_every_step_is_not_compiled_anew():
    config = decode(RunConfig, {"objective": {"kind": "mix", "final_weight": 0.1, "second": "causal"}}, tiny_config())
    with_loss, batch = step_of(config)
    graphs = list[torch.fx.GraphModule]()
    torch.compiler.reset()
    compiled = torch.compile(with_loss, fullgraph=True, dynamic=False,
                             backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    found = []
    for progress in (0.0, 0.25, 0.5):
        with_loss.objective.set_progress(progress)
        found.append(float(compiled(batch).total.detach()))
        assert found[-1] == pytest.approx(float(with_loss(batch).total.detach()))
    assert len(graphs) == 1 and found == sorted(found, reverse=True) and found[0] > found[-1]


# --- the loop around it

class Watch(TorchDispatchMode):
    """Notes the copies between host and device, and the numbers that are read. The device is ``meta``, which has no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.moved, self.made = 0, list[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name, first = func.overloadpacket.__name__, next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
        if isinstance(out, torch.Tensor) and first is not None and out.device != first.device:
            self.moved += 1
        if name in ("lift_fresh", "lift_fresh_copy") and out.device.type == "meta":
            self.made.append(name)
        return out


def on_meta(trainer: Trainer) -> Trainer:
    """The same trainer with a model on a device that computes no numbers; reading one raises an error."""
    plan = BatchPlan(trainer.corpus, trainer.objective, trainer.config.train.seq_len, trainer.config.train.batch_size,
                     trainer.config.train.grad_accum, 0, from_tokens(trainer.model, few=True))
    with_loss = trainer.with_loss.to("meta")
    return dataclasses.replace(trainer, device=torch.device("meta"), with_loss=with_loss, ema=None,
                               source=trainer.config.batches.build(plan),
                               optimizers=[torch.optim.AdamW([{"params": list(with_loss.parameters()), "peak_lr": 1e-3}])])


@pytest.mark.parametrize(("fields", "waits"), [
    *(({"model": {"copying": "pointer", **model}}, False) for model in (
        {}, {"patching": "stride"}, {"patching": "none", "pooling": "last"}, {"depth": "mixture"}, {"depth": "early_exit"},
        {"trunk": "linear"}, {"local": "attention"}, {"pooling": "attention"}, {"sharing": "ffn"}, {"head": "untied"})),
    *(({"objective": kind}, False) for kind in kinds(ObjectiveConfig)), (DROPOUT, False), (RESIDUAL, False),
    *(({"model": {slot: kind}}, True) for slot, kind in (("depth", "skip"), ("patching", "dynamic"), ("patching", "entropy"))),
], ids=str)
def test_which_kinds_wait_for_their_device(monkeypatch, fields, waits):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)  # it doesn't know this device
    with_loss, batch = step_of(decode(RunConfig, fields, decode(RunConfig, {"model": {"layers": 3}}, tiny_config())))
    with_loss.to("meta")

    def step() -> None:
        with_loss(batch.to(torch.device("meta"))).total.backward()
    if waits:
        with pytest.raises(RuntimeError, match="meta tensors|scalarType"):
            step()
    else:
        step()


@pytest.mark.parametrize("grad_accum", [1, 2])
def test_a_step_reads_nothing_from_its_device(tmp_path, monkeypatch, grad_accum):
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)  # it doesn't know this device
    trainer = on_meta(tiny_trainer(tmp_path / "run", config=tiny_with_pointer(log_every=1000, grad_accum=grad_accum)))
    trainer.advance()
    tensors = sum(isinstance(getattr(batch, field.name), torch.Tensor) for batch in trainer._batches(1)
                  for field in dataclasses.fields(batch))
    with Watch() as watch:
        trainer.advance()
    assert watch.moved == tensors and not watch.made
    assert trainer.step == 2 and all(parameter.grad is None for parameter in trainer.trained)
    with pytest.raises(RuntimeError, match="meta"):
        trainer.figures()  # where a line is logged, it may wait


def test_gradients_of_micro_batches_are_added_apart():
    torch.manual_seed(0)
    layer, unused = torch.nn.Linear(3, 2), torch.nn.Parameter(torch.zeros(2))
    parameters, inputs = [*layer.parameters(), unused], torch.randn(3, 4, 3)
    apart = GradientSum(parameters)
    shared = [torch.empty_like(parameter) for parameter in layer.parameters()]  # where the graphs of all micro-batches write
    for number, part in enumerate(inputs):
        layer(part).square().sum().backward()
        if number == 1:
            unused.grad = torch.ones(2)
        for place, parameter in zip(shared, layer.parameters(), strict=True):
            parameter.grad = place.copy_(parameter.grad)
        apart.take()
        assert all(parameter.grad is None for parameter in parameters)
    apart.give()
    found = [parameter.grad.clone() for parameter in parameters]
    layer.zero_grad()
    for part in inputs:
        layer(part).square().sum().backward()
    torch.testing.assert_close(found, [layer.weight.grad, layer.bias.grad, torch.ones(2)])


# --- the way to compile

def fake_ways(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> list[str]:
    """As on a GPU whose step takes so many seconds in each way; ways that aren't named fail. Returns a list of those tried."""
    tried: list[str] = []

    def compile_step(with_loss: ModelWithLoss, way: str) -> None:
        tried.append(way)
        if way not in seconds:
            raise RuntimeError(f"no {way} here")

    monkeypatch.setattr(compiling, "ways_on", lambda device: compiling.WAYS)
    monkeypatch.setattr(compiling, "compile_step", compile_step)
    monkeypatch.setattr(machine, "seconds", lambda work, device, repeats: seconds[tried[-1] if tried else compiling.OFF])
    return tried


@pytest.mark.parametrize(("seconds", "best"), [
    ({"off": 9.0, "graphs": 1.0, "whole": 2.0, "blocks": 5.0}, "graphs"),
    ({"off": 9.0, "graphs": 3.0, "whole": 2.0}, "whole"), ({"off": 9.0, "blocks": 5.0}, "blocks"),
    ({"off": 1.0, "graphs": 2.0, "whole": 2.0}, "off"), ({"off": 1.0}, "off")], ids=str)
def test_the_fastest_way_that_works_is_kept(tmp_path, monkeypatch, seconds, best):
    monkeypatch.setattr(decisions, "PAYS_FROM", dict.fromkeys(compiling.WAYS, 0.0))
    tried = fake_ways(monkeypatch, seconds)
    trainer = tiny_trainer(tmp_path / "run", compile="auto")
    assert trainer.decisions.compile == best == tried[-1] and tried[:3] == list(compiling.WAYS)


def test_a_short_run_tries_only_what_pays(tmp_path, monkeypatch):
    tried = fake_ways(monkeypatch, {"off": 20.0, "blocks": 10.0, "whole": 1.0})  # twelve steps of 20 s
    assert tiny_trainer(tmp_path / "run", compile="auto").decisions.compile == "blocks"
    assert "whole" not in tried


def test_a_run_goes_on_in_the_way_on_record(tmp_path, monkeypatch):
    fake_ways(monkeypatch, dict.fromkeys(("off", *compiling.WAYS), 1.0))
    trainer = tiny_trainer(tmp_path / "run", compile="on", steps=4)
    assert trainer.decisions.compile == "graphs"
    trainer.run()
    tried = fake_ways(monkeypatch, dict.fromkeys(("off", *compiling.WAYS), 1.0))
    assert tiny_trainer(tmp_path / "run", resume=True, compile="auto").decisions.compile == "graphs" and tried == ["graphs"]
    tried = fake_ways(monkeypatch, {"blocks": 1.0})  # another machine
    assert tiny_trainer(tmp_path / "run", resume=True, compile="auto").decisions.compile == "blocks"
    assert tried == list(compiling.WAYS)
    fake_ways(monkeypatch, {})
    trainer = tiny_trainer(tmp_path / "run", resume=True, compile="auto")
    assert trainer.decisions.compile == "off" and "no blocks here" in trainer.notes[0]
    with pytest.raises(UserError, match="no blocks here"):
        tiny_trainer(tmp_path / "run", resume=True, compile="on")


@pytest.mark.parametrize(("old", "new"), [(True, "blocks"), (False, "off")])
def test_earlier_records_are_read(tmp_path, monkeypatch, old, new):
    tiny_trainer(tmp_path / "run", callbacks=[StopAt(4)], compile="auto").run()
    path = tmp_path / "run" / "env.json"
    record = json.loads(path.read_text())
    record["decided"]["compile"] = record["starts"][0]["compile"] = old
    path.write_text(json.dumps(record))
    fake_ways(monkeypatch, {"blocks": 1.0, "off": 1.0})
    trainer = tiny_trainer(tmp_path / "run", resume=True, compile="auto")
    assert trainer.decisions.compile == new
    trainer.run()
    assert len(json.loads(path.read_text())["starts"]) == 1  # the same machine, in the same way
    assert compiling.in_words(old) == compiling.in_words(new)


def test_sizes_that_come_late_are_not_compiled(monkeypatch):
    compiled = list[Batch]()

    def compile_whole(step, **options):
        assert options["fullgraph"] and not options["dynamic"]
        return lambda batch: compiled.append(batch) or step(batch)

    monkeypatch.setattr(torch, "compile", compile_whole)
    with_loss, batch = step_of(tiny_config())
    plain = outcome(with_loss, batch)
    compiling.compile_step(with_loss, "whole")
    for room in range(batch.n_patches, batch.n_patches + compiling.MOST_SIZES + 2):
        found = outcome(with_loss, dataclasses.replace(batch, n_patches=room))
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)
    assert [one.n_patches - batch.n_patches for one in compiled] == list(range(compiling.MOST_SIZES))
    outcome(with_loss, batch)
    assert len(compiled) == compiling.MOST_SIZES + 1
    compiling.undo(with_loss)
    assert with_loss._compiled_call_impl is None


def test_what_a_step_returns_outlives_the_next():
    with_loss, batch = step_of(tiny_config())
    loss = with_loss(batch)
    kept, expected = loss.kept(), loss.figures.clone()
    loss.figures.zero_(), loss.count.zero_()
    assert torch.equal(kept.figures, expected) and kept.count > 0
