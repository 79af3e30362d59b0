"""What each objective says of itself, written out the slow way."""

from __future__ import annotations

import dataclasses
import itertools
import types

import numpy as np
import pytest
import torch
from tests.conftest import shard_of, small_config, small_model
from tests.objective.test_objectives import CELL, batch_of, build
from torch.nn import functional as F

from stlm.batches.text import Draws
from stlm.data.batch import Batch
from stlm.data.stream import Stream, completed
from stlm.errors import UserError
from stlm.model.room import from_tokens
from stlm.nn.norm import rms_norm
from stlm.objective import masked_next, next_thought, prefix, span
from stlm.objective.byte_order import distances
from stlm.objective.patches import next_hashes, patches_of, spread
from stlm.objective.prefix import beginnings
from stlm.objective.some_rows import hidden_token, spans
from stlm.text.tokenizer import bpe, subword
from stlm.text.tokenizer.bytes import BOS, MASK, ByteTokenizer

TEXT = b"The cat sat. The dog lay down. It rained. The cat sat. The dog ran off."


def row_of(text: bytes, seq_len: int = 72) -> Batch:
    return Stream(shard_of([text]), ByteTokenizer(), seq_len, 1, seed=None).batch(0)


def prepared(objective, batch: Batch, seed: int = 0, progress: float = 0.0) -> Batch:
    return objective.prepare(batch, [np.random.default_rng([seed, row]) for row in range(len(batch.inputs))], progress)


def as_read(objective, model, text: bytes = TEXT, seq_len: int = 72) -> Batch:
    return completed(prepared(objective, row_of(text, seq_len)), from_tokens(model))


@pytest.mark.parametrize(("share", "mean"), [(0.15, 3.0), (0.2, 6.0), (0.5, 30.0)])
def test_spans_lie_apart_and_cover_their_share(share, mean):
    found = spans(200_000, share, mean, np.random.default_rng(1))
    lengths = [end - start for start, end in found]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    assert sum(lengths) / 200_000 == pytest.approx(share, rel=0.1)
    assert np.mean(lengths) == pytest.approx(mean, rel=0.1)


def test_hidden_tokens_are_what_is_asked_for():
    batch = row_of(TEXT)
    masked = prepared(masked_next.Config(ratio=1.0).build(ByteTokenizer(), small_config(CELL)), batch)
    asked = masked.weights != 0
    assert torch.equal(asked[:, :-1], masked.inputs[:, 1:] == MASK) and 3 < asked.sum() < 40
    assert torch.equal(masked.targets, batch.targets)
    kept = masked.inputs != MASK
    assert torch.equal(masked.inputs[kept], batch.inputs[kept])
    assert float(masked.weights.sum()) == pytest.approx(float(batch.counted.sum()))
    assert masked.bidirectional.all() and not masked.scored.any()
    assert masked.total_bytes == batch.total_bytes  # they have been read


def test_the_share_of_masked_rows_follows_its_schedule():
    objective = masked_next.Config(ratio=0.8, final_ratio=0.2).build(ByteTokenizer(), small_config(CELL))
    batch = Stream(shard_of([TEXT] * 100), ByteTokenizer(), 16, 400, seed=1).batch(0)
    for progress, share in ((0.0, 0.8), (0.5, 0.5), (1.0, 0.2)):
        found = prepared(objective, batch, progress=progress)
        assert float(found.bidirectional.double().mean()) == pytest.approx(share, abs=0.08)
        assert torch.equal((found.inputs == MASK).any(dim=1) & ~found.bidirectional, torch.zeros(400, dtype=torch.bool))
    one_way = masked_next.Config(two_way=False).build(ByteTokenizer(), small_config(CELL))
    assert prepared(one_way, batch).bidirectional is None


def test_masked_rows_see_what_follows():
    """In both directions: a hidden byte is predicted from the words after it too. In one direction it isn't."""
    for two_way in (True, False):
        objective = masked_next.Config(ratio=1.0, two_way=two_way).build(ByteTokenizer(), small_config(CELL))
        model = small_model(CELL)
        batch = as_read(objective, model)
        place = int((batch.weights[0] != 0).nonzero()[0])
        changed = batch.inputs.clone()
        changed[0, -3:] = ord("x")
        with torch.no_grad():
            moved = (model(batch).logits - model(dataclasses.replace(batch, inputs=changed)).logits)[0, place].abs().max()
        assert (float(moved) > 1e-6) == two_way


@pytest.mark.parametrize("seed", range(20))
def test_gaps_are_filled_at_the_end(seed):
    """The spans, put back into the gaps, give the text up to where the row ends, in each document."""
    texts = [b"The first of the texts, which is not short.", b"And another one, after it."]
    batch = Stream(shard_of(texts), ByteTokenizer(), 70, 1, seed=None).batch(0)
    objective = span.Config(ratio=1.0, short=3, long=9).build(ByteTokenizer(), small_config(CELL))
    found = prepared(objective, batch, seed)
    row = [*found.inputs[0].tolist(), int(found.targets[0, -1])]
    n = 1 + int(np.flatnonzero(found.weights[0].numpy())[-1]) + 1
    pieces, here = [], []
    for token in row[:n]:
        if token == BOS and here:
            pieces.append(here)
            here = []
        here.append(token)
    pieces.append(here)
    for piece, text in zip(pieces, texts, strict=False):
        n_gaps = piece.count(MASK) // 2
        parts = [[]]
        for token in piece[1:]:
            parts[-1].append(token) if token != MASK else parts.append([])
        left, filled = parts[:n_gaps + 1], parts[n_gaps + 1:]
        whole = [*left[0], *(token for gap, rest in zip(filled, left[1:], strict=True) for token in [*gap, *rest])]
        assert text.startswith(bytes(token for token in whole if token < 256))
    assert not ((found.targets == MASK) & (found.weights != 0)).any()


def test_a_tokenizer_without_a_token_for_what_is_hidden():
    tokenizer = bpe.Config(vocab_size=300).build([TEXT])
    assert tokenizer.token_bytes[hidden_token(tokenizer)] == b"\xff"
    with pytest.raises(UserError, match="bytes or bpe"):
        hidden_token(types.SimpleNamespace(mask=None, token_bytes=[b"a", b"b"]))


def test_the_order_of_upcoming_tokens():
    batch = row_of(b"abcab")
    targets = torch.cat([batch.targets, batch.targets], dim=1)[:, :12]
    targets[0, 5] = BOS
    found = distances(targets, BOS, 258)
    for t in range(12):
        end = next((i for i in range(t, 12) if targets[0, i] == BOS), 11)
        for token in range(258):
            places = [i for i in range(t, end + 1) if targets[0, i] == token]
            assert int(found[0, t, token]) == (places[0] - t if places else 12), (t, token)


def test_order_is_learned_as_a_softmax_of_distances():
    """Written out: the sooner a token comes within the window, the higher its goal, at each place from its own vector."""
    model, objective = small_model(CELL), build("byte_order", window=3)
    batch = as_read(objective, model, b"abc abd", seq_len=8)
    output, expected = model(batch), 0.0
    row = batch.targets[0].tolist()
    for t in range(8):
        soon = row[t:t + 3] if BOS not in row[t:t + 3] else row[t:row.index(BOS, t) + 1]
        goal = {token: np.exp(-soon.index(token)) for token in soon}
        logs = (objective.table.weight @ output.hidden[0, t]).log_softmax(0)
        expected -= sum(each / sum(goal.values()) * float(logs[token].detach()) for token, each in goal.items())
    assert float(objective.term(model, output, batch).total.detach()) == pytest.approx(expected)


def test_the_class_of_the_next_patch_is_predicted_at_the_end_of_this_one():
    model, objective = small_model(CELL), build("prefix")
    batch = as_read(objective, model)
    output = model(batch)
    patches, ends = patches_of(model, output, batch), batch.ends[0].nonzero()[:, 0].tolist()
    classes = next_hashes(batch.inputs, patches.where, 4096)[0]
    nats = [-float((objective.words.weight @ output.hidden[0, end]).log_softmax(0)[classes[patch]].detach())
            for patch, end in enumerate(ends[:-1])]
    loss = objective.term(model, output, batch)
    assert float((loss.total / loss.count).detach()) == pytest.approx(np.mean(nats))


@pytest.mark.parametrize("given", [True, False])
def test_the_next_state_is_predicted_from_this_one(given):
    """And from the bytes of the next patch, by the smooth absolute error."""
    model, objective = small_model(CELL), build("next_latent", guard=0.0, given=given)
    batch = as_read(objective, model)
    output = model(batch)
    states, ends = rms_norm(output.trunk.states[0]), batch.ends[0].nonzero()[:, 0].tolist()
    errors = []
    for patch, (end, next_end) in enumerate(itertools.pairwise(ends)):
        following = rms_norm(model.table[batch.inputs[0, end + 1:next_end + 1]]).mean(dim=0) if given else None
        errors.append(float(F.smooth_l1_loss(objective.predictor(states[patch], following), states[patch + 1]).detach()))
    loss = objective.term(model, output, batch)
    assert float((loss.total / loss.count).detach()) == pytest.approx(np.mean(errors))


def test_terms_about_what_follows_ask_nothing_where_it_is_hidden_or_was_read():
    """In rows with hidden tokens, which may be read in both directions."""
    for base in ("masked_next", "span"):
        model = small_model(CELL)
        for kind, fields in (("prefix", {}), ("next_latent", {"guard": 0.0}), ("next_thought", {}), ("byte_order", {}),
                             ("unlikelihood", {"length": 1})):
            objective = build(kind, base={"kind": base, "ratio": 1.0}, **fields)
            batch = as_read(objective, model)
            assert not batch.unchanged.any() and float(objective.term(model, model(batch), batch).total.detach()) == 0


@pytest.mark.parametrize("kind", ["prefix", "next_latent", "next_thought", "reconstruct"])
def test_padding_has_no_patches(kind):
    """A text alone in a long row counts as in a row that it just fills."""
    model, objective = small_model(CELL, patching={"kind": "stride", "stride": 3}), build(kind)
    one, other = (as_read(objective, model, TEXT, seq_len) for seq_len in (73, 120))
    assert other.ends[0, 80:].any()  # in padding
    terms = [objective.term(model, model(batch), batch) for batch in (one, other)]
    torch.testing.assert_close(terms[0].total / terms[0].count, terms[1].total / terms[1].count)


def test_figures_are_of_what_was_asked():
    """Not thinned by rows that an objective has changed, or in which there is nothing to ask."""
    model, texts = small_model(CELL), [TEXT, TEXT[:72]]
    for kind, name in (("byte_order", "order"), ("next_latent", "latent"), ("next_thought", "thought"), ("prefix", "longer"),
                       ("unlikelihood", "repeats")):
        objective = build(kind, **({"guard": 0.0} if kind == "next_latent" else {}))
        batch = completed(Stream(shard_of(texts), ByteTokenizer(), 72, 2, seed=None).batch(0), from_tokens(model))
        one = objective.term(model, model(batch), batch)
        changed = dataclasses.replace(batch, scored=batch.scored & torch.tensor([[True], [False]]))  # what changes a row does
        other = objective.term(model, model(changed), changed)
        (total, count), (left, less) = (loss.metrics[f"loss/{name}"] for loss in (one, other))
        assert less <= count and 0 < left <= total and other.count == one.count
        if kind != "next_latent":  # its guard has to do with all rows
            assert less < count and float(left / less) > 0.6 * float(total / count)


def test_further_tokens_are_within_the_row():
    objective = build("multi_byte", further=40)
    with pytest.raises(UserError, match=r"further = 40: rows have 40 tokens"):
        prepared(objective, row_of(TEXT, 40))


def test_parts_of_a_mix_draw_apart():
    """Two objectives that hide tokens hide others, and each the same ones again."""
    masked = {"kind": "masked_next", "ratio": 1.0}
    objective = build("mix", first=masked, second=masked)
    found = [prepared(objective, row_of(TEXT)) for _ in range(2)]
    assert not torch.equal(found[0].inputs, found[0].parts[0].inputs)
    assert torch.equal(found[0].inputs, found[1].inputs) and torch.equal(found[0].parts[0].inputs, found[1].parts[0].inputs)
    three = {"kind": "mix", "first": masked, "second": masked}
    for fields in ({"first": three, "second": masked}, {"first": masked, "second": three}):
        batch = build("mix", **fields).prepare(row_of(TEXT), Draws(0, 7, 1), 0.0)
        inner = batch.parts if "kind" in fields["second"] and len(batch.parts) == 2 else (*batch.parts, *batch.parts[0].parts)
        found = [tuple(part.inputs.flatten().tolist()) for part in (batch, *inner)]
        assert len(set(found)) == len(found) == 3


def test_figures_of_a_mix_have_names_of_their_own():
    masked, model = {"kind": "masked_next", "ratio": 1.0}, small_model(CELL)
    objective = build("mix", first={"kind": "mix", "first": "causal", "second": masked}, second=masked)
    batch = as_read(objective, model)
    metrics = objective.loss(model, model(batch), batch).metrics
    assert {"loss", "masked_next/loss", "masked_next-2/loss"} <= metrics.keys()
    assert metrics["masked_next/loss"][0] != metrics["masked_next-2/loss"][0]


@pytest.mark.parametrize(("fields", "most"), [({"hidden": 0.9, "span": 1.0}, 0.5), ({"hidden": 0.9, "span": 6.0}, 0.857)])
def test_spans_that_lie_apart_cannot_hide_everything(fields, most):
    with pytest.raises(ValueError, match=f"hidden and span: .* hide {most} of the tokens at most"):
        masked_next.Config(**fields)


def test_the_next_patch_is_told_by_its_bytes():
    """Equal next words have equal classes; other words have others; the last one has no next one."""
    model = small_model(CELL)
    objective = build("prefix")
    text = b"on the mat on the mat and the mat"
    batch = as_read(objective, model, text, seq_len=len(text) + 1)
    patches = patches_of(model, model(batch), batch)
    ends = batch.ends[0].nonzero()[:, 0].tolist()
    words = [tuple(batch.inputs[0, (ends[i - 1] if i else -1) + 1:end + 1].tolist()) for i, end in enumerate(ends)]
    classes = next_hashes(batch.inputs, patches.where, 1 << 30)[0].tolist()
    for i, one in enumerate(words[1:]):
        for j, other in enumerate(words[1:]):
            assert (classes[i] == classes[j]) == (one == other)
    assert patches.follows[0].tolist()[:len(words)] == [True] * (len(words) - 1) + [False]


def test_shorter_units():
    tokens = [b"a", b"b", b"ab", b"abc", b"abcd", b"", b"bcd"]
    assert beginnings(tokens) == [-1, -1, 0, 2, 3, -1, 1]
    tokenizer = bpe.Config(vocab_size=300).build([TEXT * 20])
    flat = small_config(("none", "last", "conv", "tied"))
    objective = prefix.Config(weight=1.0).build(tokenizer, flat)
    assert objective.any_shorter and objective.words is None
    with pytest.raises(UserError, match="nothing to predict"):
        prefix.Config().build(ByteTokenizer(), flat)


def test_what_repeats_the_text_wrongly_is_pushed_away():
    model, objective = small_model(CELL), build("unlikelihood", length=4)
    text = b"one two three; one two four"
    batch = as_read(objective, model, text, seq_len=len(text) + 1)
    with torch.no_grad():
        probs = model(batch).logits.softmax(-1)[0]
    expected, row = 0.0, [BOS, *text]
    for t in range(len(row)):
        for before in range(t - 1, 3, -1):
            if row[before - 3:before + 1] == row[t - 3:t + 1] and BOS not in row[before - 3:before + 1]:
                if row[before + 1] != int(batch.targets[0, t]):
                    expected -= float(torch.log1p(-probs[t, row[before + 1]]))
                break
    assert expected > 0
    assert float(objective.term(model, model(batch), batch).total.detach()) == pytest.approx(expected)


def test_collapse_shows_in_the_figures_and_costs():
    same, apart = torch.ones(1, 9, 4), torch.nn.functional.one_hot(torch.arange(9) % 4, 4)[None] * 2.0
    counts = torch.ones(1, 9, dtype=torch.bool)
    deviation, cosine = spread(same, counts)
    assert float(deviation.max()) < 0.01 and float(cosine) == pytest.approx(1.0)
    deviation, cosine = spread(apart, counts)
    assert float(deviation.min()) > 0.7 and float(cosine) < 0.6
    model, objective = small_model(CELL), build("next_latent", guard=0.0)
    batch = as_read(objective, model)
    guarded = build("next_latent", guard=1.0, deviation=5.0)
    guarded.load_state_dict(objective.state_dict())
    one, other = (each.term(model, model(batch), batch) for each in (objective, guarded))
    assert float(other.total.detach()) > float(one.total.detach())
    assert "latent/cosine" in one.metrics and "latent/deviation" in one.metrics


def test_the_target_of_a_latent_gets_no_gradient():
    """The prediction is drawn to the next state, not the next state to the prediction."""
    model, objective = small_model(CELL), build("next_latent", guard=0.0)
    batch = as_read(objective, model)
    output = model(batch)
    output.trunk.states.retain_grad()
    objective.term(model, output, batch).total.backward()
    follows = patches_of(model, output, batch).follows[0]
    moved = output.trunk.states.grad[0].abs().sum(dim=1)
    assert (moved[follows.nonzero()[-1, 0] + 1:] == 0).all() and (moved[follows] > 0).any()


def test_sentences_end_after_their_mark_and_with_their_document():
    objective = build("next_thought")
    tokens = torch.tensor([[BOS, *b'He said "no." Then (yes!) 3.5 more? Yes', BOS, *b" on"]])
    segment_ids = (tokens == BOS).long().cumsum(1)
    found = objective.ends(tokens, segment_ids)[0].nonzero()[:, 0].tolist()
    assert [bytes(tokens[0, i - 2:i + 1].tolist()) for i in found] == [b'." ', b"!) ", b"e? ", b"Yes"]


def test_sentences_of_other_tokens():
    """A mark between the subwords doesn't hide an end. A token that begins with the space is of the next sentence."""
    text = b"The cat sat. The dog lay down. It rained. Yes"
    for config, before in ((subword.Config(vocab_size=300), b". "), (bpe.Config(vocab_size=300), b".")):
        tokenizer = config.build([text * 20])
        objective = next_thought.Config().build(tokenizer, small_config(("none", "last", "conv", "tied")))
        tokens = torch.tensor([[tokenizer.bos, *tokenizer.encode(text).tolist()]])
        found = objective.ends(tokens, torch.ones_like(tokens))[0].nonzero()[:, 0].tolist()
        read = [tokenizer.decode(tokens[0, :end + 1].tolist()) for end in found]
        assert len(found) == 3 and all(each.endswith(before) for each in read)
        assert [len(each.rstrip()) for each in read] == [12, 30, 41]


def test_what_a_thought_is_predicted_from_does_not_contain_it():
    """Where the trunk's outputs are noise, nothing can be predicted."""
    model, draw = small_model(CELL), np.random.default_rng(0)
    objective = next_thought.Config().build(ByteTokenizer(), small_config(CELL, local_dim=256)).double()
    right = asked = 0.0
    for words in (3, 6, 12):
        text = b" ".join(b" ".join(bytes(draw.integers(97, 123, 5).tolist()) for _ in range(words)) + b"." for _ in range(20))
        batch = as_read(objective, model, text, seq_len=len(text) + 1)
        output = model(batch)
        noise = torch.randn(1, output.trunk.states.shape[1], 256, dtype=torch.double)
        trunk = dataclasses.replace(output.trunk, states=noise)
        figures = objective.term(model, dataclasses.replace(output, trunk=trunk), batch).metrics
        right, asked = (one + float(more) for one, more in zip((right, asked), figures["thought/accuracy"], strict=True))
    assert asked > 50 and right / asked < 0.15


def test_a_thought_is_the_mean_of_a_sentence():
    """Written out: from the state at the end of each sentence, the cosine with every sentence that is over, as scores."""
    model, objective = small_model(CELL), build("next_thought", temperature=0.3)
    batch = as_read(objective, model)
    output = model(batch)
    read, edges = output.trunk.per_token()[0], [-1]
    edges += [place for place in range(2, 72) if bytes(batch.inputs[0, place - 1:place + 1].tolist()) == b". "]
    reads = output.trunk.patch_index[0].tolist()
    new = [[place for place in range(start + 1, end + 1) if start < 0 or reads[place] > reads[start]]
           for start, end in itertools.pairwise(edges)]
    assert all(len(places) < end - start for places, (start, end) in zip(new[1:], itertools.pairwise(edges[1:]), strict=True))
    thoughts = torch.stack([rms_norm(read[places].mean(dim=0)) for places in new])
    expected, right = [], 0
    for number, end in enumerate(edges[1:-1]):
        cosines = F.cosine_similarity(objective.predictor(rms_norm(read[end])), thoughts, dim=1)
        expected.append(-float((cosines / 0.3).log_softmax(0)[number + 1].detach()))
        right += int(cosines.argmax()) == number + 1
    loss = objective.term(model, output, batch)
    assert [float(each) for each in loss.metrics["thought/accuracy"]] == [right, 3]
    assert len(expected) == 3 and float((loss.total / loss.count).detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_cosine_of_collapsed_thoughts_is_one():
    """Whatever rows without sentences there are."""
    model, objective = small_model(CELL), build("next_thought")
    batch = completed(prepared(objective, Stream(shard_of([TEXT, b"no end" * 20]), ByteTokenizer(), 40, 4, seed=None).batch(0)),
                      from_tokens(model))
    output = model(batch)
    same = dataclasses.replace(output.trunk, states=torch.ones_like(output.trunk.states))
    total, count = objective.term(model, dataclasses.replace(output, trunk=same), batch).metrics["thought/cosine"]
    assert float(count) > 0 and float(total / count) == pytest.approx(1.0)


def test_a_thought_is_told_from_the_others():
    model, objective = small_model(CELL), build("next_thought")
    batch = as_read(objective, model)
    loss = objective.term(model, model(batch), batch)
    assert float(loss.metrics["thought/accuracy"][1]) == 3  # four sentences are over, so three are asked for
    empty = as_read(objective, model, b"no sentence ends here", seq_len=20)
    assert float(objective.term(model, model(empty), empty).total.detach()) == 0.0


def test_a_patch_is_spelt_from_its_own_vector():
    """The trunk has no part in it, and every byte of a patch counts once."""
    model, objective = small_model(CELL), build("reconstruct", slots=4)
    batch = as_read(objective, model)
    output = model(batch)
    loss = objective.term(model, output, batch)
    loss.total.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.trunk.parameters())
    patches, total = patches_of(model, output, batch), []
    vectors = model.backbone.from_trunk(output.trunk.inputs)[0]
    for patch in range(int(patches.where.count[0])):
        own = batch.inputs[0][patches.where.patch_of_byte[0] == patch][:4]
        logits = [objective.norm(objective.slots[i](vectors[patch])) @ model.table.T for i in range(len(own))]
        total.append(float(F.cross_entropy(torch.stack(logits), own).detach()))
    assert float((loss.total / loss.count).detach()) == pytest.approx(np.mean(total))


def test_future_tokens_without_layers_of_their_own():
    model, objective = small_model(CELL), build("multi_byte", own_layers=False, further=2, weight=0.5, final_weight=0.0)
    assert not list(objective.parameters())
    batch = batch_of(objective, model, rows=2)
    output = model(batch)
    nats = -output.logits.detach().log_softmax(-1)
    expected, across = 0.0, 0
    for row, place, n in itertools.product(range(2), range(40), (1, 2)):
        if place + n < 40 and BOS in batch.targets[row, place:place + n]:
            across += int(batch.weights[row, place + n])  # of the next document
        elif place + n < 40:
            expected += 0.5**n * float(nats[row, place, batch.targets[row, place + n]] * batch.weights[row, place + n])
    assert across > 0
    assert float(objective.term(model, output, batch).total.detach()) == pytest.approx(expected)
    objective.set_progress(1.0)
    torch.testing.assert_close(objective(model, batch).total, objective.base(model, batch).total)

