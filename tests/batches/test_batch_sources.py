"""Sources of batches: pure where they say so, prepared by the objective, with ends and columns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.conftest import small_model
from tests.train.tiny import tiny_corpus

from stlm.batches import BatchesConfig, BatchPlan, text
from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.shards import Shard, add_column, prepare
from stlm.data.sources import open_source
from stlm.data.stream import Stream
from stlm.errors import UserError
from stlm.model.room import from_tokens
from stlm.objective import Objective
from stlm.objective.causal import Causal
from stlm.text.tokenizer import bytes as byte_tokenizer
from stlm.train.run_config import RunConfig


class DropEveryTenth(Objective):
    """An objective that hides targets."""

    def prepare(self, batch, draws, progress):
        weights = batch.weights.clone()
        for row, draw in zip(weights, draws, strict=True):
            row[draw.integers(10)::10] = 0
        return dataclasses.replace(batch, weights=weights)

    def loss(self, model, output, batch):
        return Causal().loss(model, output, batch)


def plan(objective=None, grad_accum=1, **ranks: int) -> BatchPlan:
    model = small_model(("whitespace", "mean", "conv", "tied"))
    return BatchPlan(tiny_corpus(), objective or Causal(), 32, 4, grad_accum, 7, from_tokens(model), **ranks)


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("inputs", "targets", "weights", "ends"))


@pytest.mark.parametrize("kind", kinds(BatchesConfig))
def test_every_source(kind):
    """A probe changes nothing, and going on from a state is as if nothing had happened."""
    config = decode(RunConfig, {"batches": kind}, RunConfig()).batches
    model = small_model(("whitespace", "mean", "conv", "tied"))
    one, other = config.build(plan()), config.build(plan())
    for step in range(3):
        other.probe(step)
        assert all(same(a, b) for a, b in zip(one.batches(step, model), other.batches(step, model), strict=True))
    again = config.build(plan())
    again.load_state_dict(one.state_dict())
    assert all(same(a, b) for a, b in zip(one.batches(3, model), again.batches(3, model), strict=True))


@pytest.mark.parametrize(("grad_accum", "ranks"), [(2, 1), (1, 2), (1, 3), (2, 2)])
def test_the_parts_of_a_step_are_its_rows(grad_accum, ranks):
    """However a step is split: over micro-batches and processes, rows and what is drawn for them are the same."""
    model = small_model(("whitespace", "mean", "conv", "tied"))
    whole, = text.Config().build(plan(DropEveryTenth())).batches(2, model)
    split = [text.Config().build(plan(DropEveryTenth(), grad_accum, rank=rank, ranks=ranks)).batches(2, model)
             for rank in range(ranks)]
    parts = [part for of_all in zip(*split, strict=True) for part in of_all]
    assert len(parts) == grad_accum * ranks
    for name in ("inputs", "targets", "weights"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


def test_the_objective_prepares_before_ends_are_found():
    source = text.Config().build(plan(DropEveryTenth()))
    batch = source.probe(1)
    assert batch.ends is not None and 0.85 < batch.weights.mean() / batch.counted.float().mean() < 0.95
    assert torch.equal(batch.weights, source.probe(1).weights)
    assert not torch.equal(batch.weights, source.probe(2).weights)


def test_columns_travel_with_the_rows(tmp_path):
    """A column that numbers the tokens says, at each target, which token of the corpus it is."""
    corpus = prepare(open_source("world", megabytes=0.02), byte_tokenizer.Config(), [tmp_path])
    add_column(corpus, "train", "number", np.arange(len(corpus.train.tokens)))
    corpus = prepare(open_source("world", megabytes=0.02), byte_tokenizer.Config(), [tmp_path])
    batch = Stream(corpus.train, corpus.tokenizer, 64, 4, seed=1).batch(2)
    inside = batch.scored
    assert torch.equal(torch.from_numpy(corpus.train.tokens[batch.extra["number"][inside]]).long(), batch.targets[inside])
    assert inside.float().mean() > 0.9
    with pytest.raises(ValueError, match="entries"):
        add_column(corpus, "train", "short", np.zeros(3))
    (corpus.folder / "train.column.number.npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match="a damaged column"):
        prepare(open_source("world", megabytes=0.02), byte_tokenizer.Config(), [tmp_path])


def test_columns_of_vectors():
    shard = Shard.of([b"abc", b"defg"], byte_tokenizer.Config().build())
    shard = dataclasses.replace(shard, columns={"pair": np.stack([shard.tokens, shard.tokens], axis=1).astype(np.float32)})
    batch = Stream(shard, byte_tokenizer.Config().build(), 10, 1, seed=None).batch(0)
    assert batch.extra["pair"].shape == (1, 10, 2)
    assert torch.equal(batch.extra["pair"][0, batch.scored[0], 1].long(), batch.targets[0, batch.scored[0]])


def test_sizes_are_found_for_every_part():
    """In a mix each part has its own rows, and so its own sizes."""
    class Mixed(DropEveryTenth):
        def prepare(self, batch, draws, progress):
            other = dataclasses.replace(batch, inputs=torch.full_like(batch.inputs, 65))
            return dataclasses.replace(batch, parts=(super().prepare(batch, draws, progress), other))

    model = small_model(("whitespace", "last", "conv", "tied", "tokens", "pointer"))
    found = {few: text.Config().build(dataclasses.replace(plan(Mixed()), from_tokens=from_tokens(model, few))).probe()
             for few in (False, True)}
    assert all(part.n_patches % 16 == 0 and part.n_pairs is None for part in (found[False], *found[False].parts))
    batch, (same, other) = found[True], found[True].parts
    assert same.n_pairs == batch.n_pairs > 0 and other.n_pairs != batch.n_pairs and other.n_patches != batch.n_patches
    assert torch.equal(same.ends, batch.ends) and not torch.equal(other.ends, batch.ends)


def growing(plan: BatchPlan, steps: int, **fields: object):
    """A source whose batches and rows grow over so many steps."""
    source = decode(RunConfig, {"batches": {"kind": "text", **fields}}, RunConfig()).batches.build(plan)
    source.follow(lambda step, rows: min(1.0, step / steps))
    return source


def test_batches_grow_by_parts():
    model = small_model(("whitespace", "mean", "conv", "tied"))
    source = growing(plan(grad_accum=4), 8, first_batch=0.25)
    parts = [source.batches(step, model) for step in range(10)]
    assert [len(step) for step in parts] == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
    rows = torch.cat([part.inputs for step in parts for part in step])
    whole = text.Config().build(plan(grad_accum=1))
    assert torch.equal(rows[:24], torch.cat([whole.probe(step).inputs for step in range(6)]))  # each row is read once
    went = sum(len(part.inputs) for step in parts[:6] for part in step)
    on = dataclasses.replace(plan(grad_accum=4), first_step=6, first_row=went)
    again = growing(on, 8, first_batch=0.25)
    for step in range(6, 10):
        assert all(same(a, b) for a, b in zip(parts[step], again.batches(step, model), strict=True))


def test_rows_grow_by_joining_pieces():
    """The same text in the same order, cut into pieces that begin anew."""
    model = small_model(("whitespace", "mean", "conv", "tied"))
    source, whole = growing(plan(), 8, first_length=0.25), text.Config().build(plan())
    widths = []
    for step in range(9):
        (batch,), (plain,) = source.batches(step, model), whole.batches(step, model)
        widths.append(batch.inputs.shape[1])
        assert torch.equal(batch.inputs.flatten(), plain.inputs.flatten())
        assert torch.equal(batch.targets.flatten(), plain.targets.flatten()) and batch.ends.shape == batch.inputs.shape
        assert len(batch.rows.unique()) == len(batch.inputs)
    assert widths == [8, 8, 16, 16, 16, 32, 32, 32, 32]
    drawn = growing(plan(DropEveryTenth()), 8, first_length=0.25).probe(0)
    assert len({tuple(row) for row in drawn.weights.bool().tolist()}) > 4  # each piece draws for itself


def test_order_may_stay():
    model = small_model(("whitespace", "mean", "conv", "tied"))
    epoch = Stream(tiny_corpus().train, tiny_corpus().tokenizer, 32, 4, seed=7).epoch_rows
    for reshuffle in (True, False):
        first, second = (growing(dataclasses.replace(plan(), first_row=row), 8, reshuffle=reshuffle).batches(0, model)[0]
                         for row in (0, epoch))
        assert torch.equal(first.inputs, second.inputs) == (not reshuffle)


@pytest.mark.parametrize(("fields", "message"), [
    ({"first_batch": 0.5}, "set --train.grad-accum to 2 or more"), ({"first_length": 0.8}, "use 0.7 or less"),
    ({"first_length": 1e-320}, "so use at least 0.0"), ({"first_length": 0.0001}, "so use at least 0.0")])
def test_what_cannot_grow(fields, message):
    with pytest.raises(UserError, match=message):
        growing(plan(), 8, **fields)
    with pytest.raises(UserError, match="that is all of them"):
        growing(plan(grad_accum=2), 8, first_batch=0.76)
    with pytest.raises(UserError, match="use a multiple of 8 for --train.seq-len"):
        growing(dataclasses.replace(plan(), seq_len=36), 8, first_length=0.125)
