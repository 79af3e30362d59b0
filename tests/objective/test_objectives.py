"""Objectives: sums that split as they like, parameters of their own, and no say in what a model is worth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.conftest import shard_of, small_config, small_model
from tests.train.tiny import tiny_config, tiny_trainer

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.batch import Batch, Inputs
from stlm.data.stream import Stream, completed
from stlm.model.room import from_tokens
from stlm.nn.weights import parameters_of
from stlm.objective import ObjectiveConfig, causal, mix, multi_byte, z_loss
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train.checkpoint import OBJECTIVE
from stlm.train.run_config import RunConfig

CELL = ("whitespace", "mean", "conv", "tied")
TEXTS = [b"It was late. Nobody spoke. The rain fell. It fell on.", b"Extraordinarily!",
         b"The same words, the same words again. " * 2]
KINDS = kinds(ObjectiveConfig)
FITTING = {"reconstruct": {"slots": 5},  # the small models' patches have 5 bytes at most
           "masked_next": {"ratio": 0.6}, "span": {"ratio": 0.6, "short": 3, "long": 6}}  # the first row of `batch_of` stays
CHANGING = {"ratio": 0.9, "final_ratio": 0.1, "weight": 0.5, "final_weight": 0.1}


def config_of(kind: str, **fields: object) -> ObjectiveConfig:
    return decode(RunConfig, {"objective": {"kind": kind, **fields}}, RunConfig()).objective


def build(kind: str, **fields: object):
    torch.manual_seed(3)
    objective = config_of(kind, **{**FITTING.get(kind, {}), **fields}).build(ByteTokenizer(), small_config(CELL)).double()
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return objective


def batch_of(objective, model, rows: int, number: int = 0) -> Batch:
    """A batch some of whose rows end early, as the objective wants it."""
    stream = Stream(shard_of(TEXTS), ByteTokenizer(), 40, rows, seed=5)
    prepared = objective.prepare(stream.batch(number), [np.random.default_rng(row) for row in range(rows)], 0.0)
    return completed(prepared, from_tokens(model))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{}, {"ratio": 1.0}], ids=str)
def test_no_target_is_seen_where_it_is_predicted(kind, fields):
    """A change of one byte of the text changes no scores at the places where this byte is the target."""
    if not fields or "ratio" in vars(config_of(kind)):
        assert refuse_leaks(build(kind, **fields)) > 5


def refuse_leaks(objective) -> int:
    """AssertionError if a target is seen. Returns the number of targets that were tried."""
    model = small_model(CELL, patching={"kind": "stride", "stride": 3})
    stream = Stream(shard_of(TEXTS), ByteTokenizer(), 40, 1, seed=5).batch(1)
    find = from_tokens(model)

    def prepared(tokens: torch.Tensor) -> Batch:
        changed = dataclasses.replace(stream, inputs=tokens[:, :-1], targets=tokens[:, 1:])
        return completed(objective.prepare(changed, [np.random.default_rng(3)], 0.0), find)

    def check(one: Batch, other: Batch) -> int:
        asked = (one.targets != other.targets) & (one.weights != 0)
        with torch.no_grad():
            moved = (model(one).logits - model(other).logits).abs().amax(dim=2)
        assert (moved[asked] < 1e-9).all()
        return int(asked.sum()) + sum(check(*parts) for parts in zip(one.parts, other.parts, strict=True))

    tokens = torch.cat([stream.inputs[:, :1], stream.targets], dim=1)
    found = 0
    for place in range(1, tokens.shape[1]):
        if tokens[0, place] < 256:
            changed = tokens.clone()
            changed[0, place] = (changed[0, place] + 1) % 256
            found += check(prepared(tokens), prepared(changed))
    return found


def test_an_objective_at_its_end():
    """Inner ones too; a run that goes on from there doesn't begin its changes anew."""
    inner = {"kind": "masked_next", "ratio": 0.5, "final_ratio": 0.0}
    config = config_of("mix", first={"kind": "multi_byte", "weight": 0.5, "final_weight": 0.0, "base": inner}, second="z_loss")
    found = config.of_trained()
    assert (found.first.weight, found.first.base.ratio, found.weight) == (0.0, 0.0, 0.5)
    assert found.of_trained() == found and config_of("causal").of_trained() == config_of("causal")


LEAKS = {  # from the row as it is, its tokens and what stands for hidden ones: the row with a leak
    "hidden tokens stay": ("masked_next", lambda row, tokens, hidden: dataclasses.replace(row, inputs=tokens[:-1])),
    "all tokens are asked for": ("masked_next", lambda row, tokens, hidden: dataclasses.replace(
        row, weights=np.ones_like(row.weights))),
    "asked for one place late": ("masked_next", lambda row, tokens, hidden: dataclasses.replace(
        row, weights=np.roll(row.weights, 1))),
    "targets are inputs": ("span", lambda row, tokens, hidden: dataclasses.replace(row, targets=row.inputs)),
    "what is cut out stays": ("span", lambda row, tokens, hidden: dataclasses.replace(row, inputs=np.where(
        np.arange(len(row.inputs)) < np.argmax(row.inputs == hidden) + 3, tokens[:-1], row.inputs))),
}


@pytest.mark.parametrize("name", LEAKS)
def test_planted_leaks_are_found(name, monkeypatch):
    kind, leak = LEAKS[name]
    objective = build(kind, ratio=1.0)
    changed = objective.changed
    monkeypatch.setattr(objective, "changed", lambda tokens, counted, draw: leak(changed(tokens, counted, draw), tokens,
                                                                                 objective.hidden))
    with pytest.raises(AssertionError):
        refuse_leaks(objective)


def split(batch: Batch, size: int) -> list[Batch]:
    """The same rows in several batches."""
    def part(one: Batch, start: int) -> Batch:
        cut = one._each(lambda tensor: tensor[start:start + size])
        return dataclasses.replace(cut, parts=tuple(part(inner, start) for inner in one.parts))
    return [part(batch, start) for start in range(0, len(batch.inputs), size)]


def gradients(objective, model, batches: list[Batch]) -> list[torch.Tensor]:
    """Of all parameters, divided once by the count of all batches."""
    parameters = [*model.parameters(), *objective.parameters()]
    for parameter in parameters:
        parameter.grad = None
    losses = [objective(model, batch) for batch in batches]
    for loss in losses:
        loss.total.backward()
    count = sum(loss.count for loss in losses)
    return [torch.zeros_like(p) if p.grad is None else p.grad / count for p in parameters]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_have_the_gradient_of_one_batch(kind, size):
    model, objective = small_model(CELL), build(kind)
    whole = batch_of(objective, model, rows=4)
    assert 0 < whole.counted.double().mean() < 1
    assert whole.unchanged[0] and whole.unchanged.all() == ("ratio" not in vars(config_of(kind)))
    for one, other in zip(gradients(objective, model, [whole]), gradients(objective, model, split(whole, size)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_scored_as_before(kind):
    """An objective adds nothing to a model, and a training pass through it changes no score."""
    model = small_model(CELL)
    names, rows = set(model.state_dict()), torch.tensor([[256, *TEXTS[0]]])
    before = model(Inputs(rows)).logits
    objective = build(kind)
    loss = objective(model.train(), batch_of(objective, model, rows=2))
    loss.total.backward()
    assert set(model.state_dict()) == names
    assert torch.equal(model.eval()(Inputs(rows)).logits, before)
    assert float(loss.metrics["bits_per_byte"][1]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_one_batch_by_heart(kind):
    model, objective = small_model(CELL).train(), build(kind)
    batch = batch_of(objective, model, rows=2)
    parameters = parameters_of(model, objective)
    optimizer = torch.optim.Adam([one.parameter for one in parameters], lr=0.02)
    losses = []
    for _ in range(40):
        loss = objective(model, batch)
        losses.append(float(loss.total.detach() / loss.count))
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_all_parameters_have_gradients(kind):
    model, objective = small_model(CELL).train(), build(kind)
    objective(model, batch_of(objective, model, rows=4)).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_bit_for_bit(kind, tmp_path):
    """Its own parameters are in the checkpoint, beside the model's, and restored."""
    from tests.train.test_training import StopAt
    changing = {name: value for name, value in CHANGING.items() if name in vars(config_of(kind))}
    config = dataclasses.replace(tiny_config(steps=8), objective=config_of(kind, **changing))
    whole = tiny_trainer(tmp_path / "whole", config=config)
    whole.run()
    tiny_trainer(tmp_path / "cut", config=config, callbacks=[StopAt(3)]).run()
    torch.manual_seed(999)
    cut = tiny_trainer(tmp_path / "cut", config=config, resume=True)
    cut.run()
    for one, other in ((cut.model, whole.model), (cut.objective, whole.objective)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    written = (tmp_path / "cut" / "checkpoints" / "step_0000008" / OBJECTIVE).exists()
    assert written == bool(whole.objective.state_dict())


def test_further_tokens_are_those_further_on():
    """Written out: the surprisal of the n-th token after the next, from the same vectors, summed."""
    model, objective = small_model(CELL), build("multi_byte", further=2)
    batch = batch_of(objective, model, rows=3)
    output = model(batch)
    plain, total = causal.next_token_loss(output, batch), 0.0
    for number, layer in enumerate(objective.steps, start=1):
        logits = objective.norm(output.hidden + layer(output.hidden)) @ model.table.T
        for row in range(3):
            for t in (t for t in range(40 - number) if model.bos not in batch.targets[row, t:t + number]):
                nats = -logits.detach()[row, t].log_softmax(-1)[batch.targets[row, t + number]]
                total += float(nats * batch.weights[row, t + number])
    loss, share = objective(model, batch), 40 / (39 + 38)
    assert float((loss.total - plain.total).detach()) == pytest.approx(share * total)
    assert float(loss.metrics["loss/further"][0]) == pytest.approx(share * total)
    assert torch.equal(loss.metrics["bits_per_byte"][0], plain.metrics["bits_per_byte"][0])
    with pytest.raises(ValueError, match="1 or more"):
        multi_byte.Config(further=0)


def test_a_mix_is_the_weighted_sum_of_its_parts():
    model = small_model(CELL)
    objective = build("mix", weight=0.5, final_weight=0.1)
    batch = batch_of(objective, model, rows=2)
    first, second = objective.first(model, dataclasses.replace(batch, parts=())), objective.second(model, batch.parts[0])
    for progress, weight in ((0.0, 0.5), (0.5, 0.3), (1.0, 0.1)):
        objective.set_progress(progress)
        loss = objective(model, batch)
        torch.testing.assert_close(loss.total, first.total + weight * second.total)
        assert torch.equal(loss.count, first.count)
    assert torch.equal(loss.metrics["loss"][0], first.metrics["loss"][0])
    assert torch.equal(loss.metrics["masked_next/loss"][0], second.metrics["loss"][0])


def test_objectives_are_combined():
    """A mix of mixes, and a term that is added to a mix, which reads the output of the first part."""
    model, causal_loss = small_model(CELL), build("causal")
    plain = causal_loss(model, batch_of(causal_loss, model, rows=2)).total
    masked = mix.Config(weight=0.0, final_weight=0.0)
    for first, second in ((masked, causal.Config()), (causal.Config(), masked)):
        nested = mix.Config(first=first, second=second, weight=1.0, final_weight=1.0)
        objective = nested.build(ByteTokenizer(), small_config(CELL)).double()
        torch.testing.assert_close(objective(model, batch_of(objective, model, rows=2)).total, 2 * plain)
    chain = z_loss.Config(base=multi_byte.Config(base=masked, own_layers=False, weight=0.0), weight=0.1)
    objective = chain.build(ByteTokenizer(), small_config(CELL)).double()
    batch = batch_of(objective, model, rows=2)
    z = (model(batch).logits.logsumexp(-1).square() * batch.weights).sum()
    torch.testing.assert_close(objective(model, batch).total, plain + 0.1 * z)


def test_weights_may_be_negative():
    """Pushing a token away is the gradient of drawing it closer, the other way round."""
    model, objective = small_model(CELL), build("causal")
    batch = batch_of(objective, model, rows=2)
    away = dataclasses.replace(batch, weights=-batch.weights)
    closer, apart = objective(model, batch), objective(model, away)
    torch.testing.assert_close(apart.total, -closer.total)
    assert torch.equal(apart.metrics["bits_per_byte"][0], closer.metrics["bits_per_byte"][0])  # bits ask for no weights
