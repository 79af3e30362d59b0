"""Depth that differs between patches: still causal, still the same step by step, and counted as it should be."""

from __future__ import annotations

import itertools

import pytest
import torch

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.batch import Inputs
from stlm.data.stream import Stream
from stlm.errors import UserError
from stlm.model import checks
from stlm.model.depth import DepthConfig
from stlm.model.model_config import ModelConfig
from stlm.model.patching import PatchingConfig
from stlm.model.sharing import SharingConfig
from stlm.model.small import SMALL, Letters
from stlm.nn.block import BlockConfig
from stlm.objective import causal
from stlm.text.tokenizer.bytes import ByteTokenizer
from tests.conftest import shard_of, small_model

BOS = 256
ROWS = torch.tensor([checks.tokens_of(checks.TEXT, BOS)])
WAYS = {**{kind: {} for kind in kinds(DepthConfig) if kind != "full"}, "early_exit": {"dropout": 0.3},
        "exiting": {"exit_threshold": 0.3}, "nested": {"span": 2, "every": 1, "nested": True}}
KIND = {"exiting": "early_exit", "nested": "mixture"}
SHARING = {"nested": {"kind": "cycle", "loops": 3}, "skip": {"kind": "all", "rank": 2}}


def model_of(way, patching="whitespace", tokenizer=None, seed=0, trunk="attention", **changes):
    cell = (patching, "last" if patching == "none" else "mean", "conv", "tied")
    fields = {"layers": 6, "depth": {"kind": KIND.get(way, way), **WAYS.get(way, {})},
              "sharing": SHARING.get(way, {"kind": "none"}), "trunk": {"kind": trunk, **SMALL["trunk"].get(trunk, {})}}
    return small_model(cell, tokenizer, seed, **{**fields, **changes})


@pytest.mark.slow  # the pairs of every day have depth among their slots
@pytest.mark.parametrize("patching", kinds(PatchingConfig))
@pytest.mark.parametrize("way", WAYS)
def test_invariants(way, patching):
    model = model_of(way, patching)
    for training in (False, True):
        if not training or checks.causal_in_training(model.config):
            checks.check_nothing_leaks(model.train(training), ROWS, 256)
    model.eval()
    checks.check_one_at_a_time(model, ROWS[0])
    checks.check_steps_equal_whole(model, torch.cat([ROWS, ROWS.roll(9, dims=1)]), seed=0)
    checks.check_neighbours_do_not_matter(model, b"Another one, unfini", checks.TEXT)
    checks.check_sums_to_one(model_of(way, patching, Letters()), tokens=3, length=5)


SHARED = {**{kind: {} for kind in kinds(SharingConfig)}, "ffn": {"groups": 2}, "adjacent": {"rank": 2, "own_scales": True},
          "cycle": {"loops": 3}, "all": {"rank": 2, "own_norms": True}}


@pytest.mark.slow
@pytest.mark.parametrize("sharing", SHARED)
@pytest.mark.parametrize("way", WAYS)
def test_with_every_sharing(way, sharing):
    """Patchings in turn."""
    ways = [*itertools.product(WAYS, SHARED)]
    patching = kinds(PatchingConfig)[ways.index((way, sharing)) % 6]
    model = model_of(way, patching, sharing={"kind": sharing, **SHARED[sharing]})
    checks.check_nothing_leaks(model, ROWS, 256)
    checks.check_one_at_a_time(model, ROWS[0])
    checks.check_steps_equal_whole(model, torch.cat([ROWS, ROWS.roll(9, dims=1)]), seed=0)
    checks.check_neighbours_do_not_matter(model, b"Another one, unfini", checks.TEXT)


@pytest.mark.parametrize("way", ["early_exit", "mixture", "skip"])
def test_loops_that_start_later(way):
    model = model_of(way, sharing={"kind": "cycle", "loops": 3, "loop_from": 0.5}, depth={
        "kind": way, **({"span": 3, "every": 2} if way == "mixture" else {})})
    ready = checks.logits_of(model, ROWS)
    model.set_progress(0.1)
    early = checks.logits_of(model, ROWS)
    assert not torch.equal(early, ready)
    checks.check_one_at_a_time(model, ROWS[0])
    model.trunk.active = 0
    assert not torch.allclose(checks.logits_of(model, ROWS), early)  # the layers that run do something


@pytest.mark.slow
@pytest.mark.parametrize("trunk", kinds(BlockConfig))
@pytest.mark.parametrize("way", WAYS)
def test_other_blocks(way, trunk):
    model = model_of(way, trunk=trunk)
    checks.check_one_at_a_time(model, ROWS[0])
    checks.check_neighbours_do_not_matter(model, b"Another one, unfini", checks.TEXT)


@pytest.mark.shapes
@pytest.mark.parametrize("way", WAYS)
def test_every_parameter_learns(way):
    model, tokenizer = model_of(way).train(), ByteTokenizer()
    if way == "skip":  # all gates open, or what's behind them can't learn
        for gate in model.trunk.gates:
            torch.nn.init.constant_(gate.bias, 5.0)
    stream = Stream(shard_of([checks.TEXT * 4]), tokenizer, 64, 2, 0)
    objective, seen = causal.Causal(), set()
    for step in range(8):
        loss = objective(model, stream.batch(step))
        loss.total.backward()
        seen |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name, _ in model.named_parameters()} == seen


def test_losses_of_layers_with_exits():
    torch.manual_seed(0)
    model = model_of("early_exit").train()
    found = [model(Inputs(ROWS)) for _ in range(60)]
    weights = sorted({weight for output in found for _, weight in output.exits})
    assert all(len(output.exits) == 1 for output in found)
    assert weights == pytest.approx([0.3 * layer / 5 for layer in range(1, 6)])
    assert model.eval()(Inputs(ROWS)).exits == []
    some = model_of("early_exit", depth={"kind": "early_exit", "exit_layers": [2, 4], "dropout": 0.0}).train()
    assert {weight for _ in range(20) for _, weight in some(Inputs(ROWS)).exits} == {0.15, 0.3}
    quiet = model_of("early_exit", depth={"kind": "early_exit", "dropout": 0.0}).train()
    plain = small_model(("whitespace", "mean", "conv", "tied"), layers=6)
    plain.load_state_dict(quiet.state_dict())
    assert torch.equal(quiet(Inputs(ROWS)).logits, plain(Inputs(ROWS)).logits)
    scores, weight = quiet(Inputs(ROWS)).exits[0]
    short = small_model(("whitespace", "mean", "conv", "tied"), layers=round(weight / 0.3 * 5))
    short.load_state_dict({name: value for name, value in plain.state_dict().items() if name in short.state_dict()})
    assert torch.equal(scores.logits(), short(Inputs(ROWS)).logits)


@pytest.mark.shapes
def test_a_patch_that_exits_stays_as_it_is():
    model, never = model_of("exiting"), model_of("exiting", depth={"kind": "early_exit"})
    assert not torch.equal(checks.logits_of(model, ROWS), checks.logits_of(never, ROWS))
    with torch.no_grad():  # a patch that has exited isn't computed any more: its cached keys and values are the same
        model.trunk.exit_threshold = -1.0
        cache, whole = model.new_cache(1), checks.logits_of(model, ROWS)
        asked = []
        model.trunk._skip_layer = lambda *given: (asked.append(given[0]), type(model.trunk)._skip_layer(model.trunk, *given))[1]
        torch.testing.assert_close(model(Inputs(ROWS), cache).logits, whole)
        assert asked == [1, 2, 3, 4, 5]
        cache, parts = model.new_cache(1), []
        for part in ROWS.split(11, dim=1):  # the keys and values of patches that have exited are read by later patches
            parts.append(model(Inputs(part), cache).logits)
        torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    model.trunk.exit_threshold = 1.1
    torch.testing.assert_close(checks.logits_of(model, ROWS), checks.logits_of(never, ROWS))


def test_a_mixture_selects_its_share():
    model = model_of("mixture", depth={"kind": "mixture", "capacity": 0.25}, patching="none").train()
    seen = []
    plain = model.trunk.residual
    model.trunk.residual = lambda depth, x, selection, cache: (
        seen.append((depth, int(selection.count.sum()), selection.order.shape[1])), plain(depth, x, selection, cache))[1]
    output, n = model(Inputs(ROWS)), ROWS.shape[1]
    wanted = -(-n // 4)
    assert [(depth, count) for depth, count, _ in seen] == [(1, wanted), (3, wanted), (5, wanted)]
    assert all(wanted <= room < n // 2 for _, _, room in seen)  # patches that aren't selected cost nothing
    assert 0 <= output.metrics["share selected in use"] <= 1


def test_a_mixture_of_all_is_a_stack_with_a_gate():
    """With all patches selected and a router output of 1, it is a plain stack."""
    model = model_of("mixture", depth={"kind": "mixture", "capacity": 1.0}).train()
    for router in model.trunk.routers.values():
        torch.nn.init.zeros_(router.weight)
        torch.nn.init.constant_(router.bias, 50.0)
    plain = small_model(("whitespace", "mean", "conv", "tied"), layers=6)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "routers" not in name and "guesses"
                           not in name})
    torch.testing.assert_close(model(Inputs(ROWS)).logits, checks.logits_of(plain, ROWS))


def test_the_loss_moves_gates_to_their_target():
    model = model_of("skip").train()
    for bias, share in ((0.1, 1.0), (-0.1, 0.0)):  # the share counts decisions, not probabilities
        for gate in model.trunk.gates:
            torch.nn.init.zeros_(gate.weight)
            torch.nn.init.constant_(gate.bias, bias)
        output = model(Inputs(ROWS))
        assert (output.metrics["share run"] == share).all()
        assert output.aux_losses["gates"].tolist() == pytest.approx([(share - 0.7) ** 2] * len(ROWS))
        model.zero_grad()
        output.aux_losses["gates"].sum().backward()
        assert all(gate.bias.grad * (share - 0.7) > 0 for gate in model.trunk.gates)
    for gate in model.trunk.gates:
        torch.nn.init.constant_(gate.bias, -9.0)
    first = small_model(("whitespace", "mean", "conv", "tied"), layers=6, sharing=SHARING["skip"])
    first.load_state_dict({name: value for name, value in model.state_dict().items() if "gates" not in name})
    first.trunk.active = 1
    torch.testing.assert_close(checks.logits_of(model.eval(), ROWS), checks.logits_of(first, ROWS))


def test_what_does_not_go_together():
    with pytest.raises(UserError, match="needs 2 layers or more"):
        decode(ModelConfig, {"layers": 1, "depth": "early_exit"}, ModelConfig())
    with pytest.raises(UserError, match=r"exit_layers = \[6\]: each has to be between 1 and 5"):
        decode(ModelConfig, {"layers": 6, "depth": {"kind": "early_exit", "exit_layers": [6]}}, ModelConfig())
    with pytest.raises(UserError, match="layers = 6 has to be a multiple of span = 4"):
        decode(ModelConfig, {"layers": 6, "depth": {"kind": "mixture", "span": 4}}, ModelConfig())
