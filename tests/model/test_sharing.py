"""Shared weights are one, learn from all of their uses, and differ by what each use has of its own only."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import safetensors.torch
import torch
from torch.func import functional_call

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model import checks
from stlm.model.count import count
from stlm.model.init_from import init_from, weights_of
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.model.patching import PatchingConfig
from stlm.model.sharing import SharingConfig
from stlm.model.small import SMALL, Bytes, Letters
from stlm.nn.block import BlockConfig
from stlm.text.tokenizer.bytes import ByteTokenizer
from tests.conftest import small_model

KINDS = kinds(SharingConfig)
ADAPTED = [kind for kind in KINDS if kind != "none"]
OWN = {"rank": 2, "own_norms": True, "own_scales": True}
CELL = ("whitespace", "mean", "conv", "tied")
BOS = 256
ROWS = torch.tensor([checks.tokens_of(checks.TEXT, BOS)])


def shared_model(kind, patching="whitespace", trunk="attention", tokenizer=None, layers=4, seed=0, **fields):
    if kind == "ffn" and trunk == "conv":
        pytest.skip("conv blocks have no feed-forward layer")
    cell = (patching, "last" if patching == "none" else "mean", "conv", "tied")
    return small_model(cell, tokenizer, seed, layers=layers, sharing={"kind": kind, **fields},
                       trunk={"kind": trunk, **SMALL["trunk"].get(trunk, {})})


# the pairs of every day have sharing among their slots, but no norms of each use's own
@pytest.mark.parametrize(("kind", "patching", "fields"), [("all", "whitespace", OWN), *(
    pytest.param(*each, marks=pytest.mark.slow) for each in itertools.product(ADAPTED, kinds(PatchingConfig), [{}, OWN])
    if each != ("all", "whitespace", OWN))], ids=str)
def test_invariants(kind, patching, fields):
    model = shared_model(kind, patching, **fields)
    for training in (False, True):
        checks.check_nothing_leaks(model.train(training), ROWS, 256)
    model.eval()
    checks.check_one_at_a_time(model, ROWS[0])
    checks.check_steps_equal_whole(model, torch.cat([ROWS, ROWS.roll(9, dims=1)]), seed=0)
    checks.check_neighbours_do_not_matter(model, b"Another one, unfini", checks.TEXT)
    checks.check_sums_to_one(shared_model(kind, patching, tokenizer=Letters(), **fields), tokens=3, length=5)


@pytest.mark.parametrize("trunk", kinds(BlockConfig))
@pytest.mark.parametrize("kind", ADAPTED)
def test_rank_zero_is_plain_sharing(kind, trunk):
    plain, adapted = shared_model(kind, trunk=trunk), shared_model(kind, trunk=trunk, rank=2, own_norms=True)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".own." in name:
                parameter.fill_(1.0 if "gains" in name else 0.0)
    take = {name.replace(".shared.", "."): value for name, value in adapted.state_dict().items() if ".own." not in name}
    plain.load_state_dict(take)
    if kind != "ffn":  # there, norms are each layer's anyway
        for one in adapted.trunk.blocks:
            for key, gain in one.own.gains.items():
                gain.data.copy_(one.shared.get_parameter(f"{key}.gain"))
    torch.testing.assert_close(checks.logits_of(adapted, ROWS), checks.logits_of(plain, ROWS), rtol=0, atol=0)
    scaled = shared_model(kind, trunk=trunk, rank=0, own_scales=True)
    scaled.load_state_dict({name: torch.ones_like(value) if name.endswith("own.scale") else adapted.state_dict()[name]
                            for name, value in scaled.state_dict().items()})
    torch.testing.assert_close(checks.logits_of(scaled, ROWS), checks.logits_of(plain, ROWS), rtol=1e-12, atol=1e-12)
    assert shared_model(kind, trunk=trunk, rank=0).state_dict().keys() == plain.state_dict().keys()


@pytest.mark.shapes
@pytest.mark.parametrize("trunk", kinds(BlockConfig))
@pytest.mark.parametrize("kind", ["all", "adjacent"])
def test_kv_only_of_adapted_layers_equals_that_of_a_whole_pass(kind, trunk):
    """Keys and values of what skips a layer are cached as if it had gone through."""
    model = shared_model(kind, trunk=trunk, **OWN)
    x, positions = torch.randn(2, 9, 16, dtype=torch.double), torch.arange(9).expand(2, 9)
    for block in model.trunk.blocks:
        context = block.context(torch.zeros_like(positions), positions, x.dtype)
        for kv_only, whole in zip(block.kv_only(x, context, None), block(x, context, None)[1], strict=True):
            torch.testing.assert_close(kv_only, whole)


@pytest.mark.shapes
@pytest.mark.parametrize("kind", ADAPTED)
def test_gradients_of_adaptors(kind):
    """Against finite differences."""
    model = shared_model(kind, layers=2, **OWN)
    loss = lambda: model(Inputs(ROWS[:, :12])).logits.square().mean()  # noqa: E731
    loss().backward()
    for name, parameter in model.trunk.named_parameters():
        if ".own." in name:
            step, direction = 1e-6, torch.randn_like(parameter)
            found = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(sign * step * direction)
                    found.append(loss())
                    parameter.add_(-sign * step * direction)
            want = (found[0] - found[1]) / (2 * step)
            torch.testing.assert_close((parameter.grad * direction).sum(), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_shared_weights_are_the_sums_of_their_uses(kind):
    """Against the same model with every use a copy of its own."""
    model = shared_model(kind).train()
    apart = small_model(CELL, layers=4).train()
    rest = {name: value for name, value in model.state_dict().items() if not name.startswith("trunk.")}
    apart.load_state_dict(rest, strict=False)
    for mine, theirs in zip(apart.trunk.blocks, model.trunk.blocks, strict=True):
        mine.load_state_dict(weights_of(theirs))
    for one in (model, apart):
        one(Inputs(ROWS)).logits.square().sum().backward()
    sums: dict[int, torch.Tensor] = {}
    for mine, theirs in zip(apart.trunk.blocks, model.trunk.blocks, strict=True):
        own = dict(mine.named_parameters())
        for name, parameter in theirs.named_parameters():
            sums[id(parameter)] = sums.get(id(parameter), 0) + own[name].grad
    for parameter in model.trunk.parameters():
        torch.testing.assert_close(parameter.grad, sums[id(parameter)], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_files_hold_shared_weights_once(kind, tmp_path):
    model = shared_model(kind, **(OWN if kind != "none" else {}))
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    saved = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert sum(value.numel() for value in saved.values()) == count(model).unique <= count(model).total
    other = shared_model(kind, seed=9, **(OWN if kind != "none" else {}))
    safetensors.torch.load_model(other, tmp_path / "model.safetensors")
    torch.testing.assert_close(checks.logits_of(other, ROWS), checks.logits_of(model, ROWS), rtol=0, atol=0)


def test_how_many_weights_there_are():
    def trunk(**sharing):
        with torch.device("meta"):
            model = decode(ModelConfig, {"dim": 64, "layers": 6, "sharing": sharing}, ModelConfig())
            return count(LM(model, ByteTokenizer())).trunk

    whole, ffn = trunk(kind="none"), 2 * 64 * 256
    assert whole == 6 * trunk(kind="all") == 2 * trunk(kind="adjacent") == 3 * trunk(kind="cycle", loops=3)
    assert trunk(kind="ffn") == whole - 5 * ffn and trunk(kind="ffn", groups=2) == whole - 4 * ffn
    assert trunk(kind="ffn", widen=6.0) == whole
    assert trunk(kind="all", rank=4) == whole // 6 + 6 * 4 * (64 + 192 + 64 + 64 + 64 + 256 + 256 + 64)


@pytest.mark.parametrize("patching", ["none", "whitespace", *(pytest.param(kind, marks=pytest.mark.slow) for kind in kinds(
    PatchingConfig) if kind not in ("none", "whitespace"))])
def test_encoder_and_decoder_may_be_one(patching, tmp_path):
    changes = {"encoder_layers": 2, "decoder_layers": 2}
    cell = (patching, "last" if patching == "none" else "mean", "conv", "tied")
    model, apart = small_model(cell, tie_local=True, **changes), small_model(cell, **changes)
    checks.check_nothing_leaks(model, ROWS, 256)
    checks.check_one_at_a_time(model, ROWS[0])
    local = sum(p.numel() for p in apart.encoder.parameters())
    assert count(apart).unique - count(model).unique == local
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    safetensors.torch.load_model(small_model(cell, tie_local=True, seed=4, **changes), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="the same number of blocks in the encoder and the decoder"):
        decode(ModelConfig, {"tie_local": True, "encoder_layers": 1, "decoder_layers": 2}, ModelConfig())


def test_what_cannot_be_shared_is_refused():
    for sharing, message in (({"kind": "adjacent"}, "layers = 3 has to be a multiple of repeat = 2"),
                             ({"kind": "cycle"}, "layers = 3 has to be a multiple of loops = 2"),
                             ({"kind": "ffn", "groups": 2}, "layers = 3 has to be a multiple of groups = 2"),
                             ({"kind": "all", "rank": -1}, "0 or more")):
        with pytest.raises(UserError, match=message):
            decode(ModelConfig, {"layers": 3, "sharing": sharing}, ModelConfig())
    with pytest.raises(UserError, match="no feed-forward layer"):
        decode(ModelConfig, {"layers": 2, "trunk": {"kind": "conv"}, "sharing": {"kind": "ffn"}}, ModelConfig())


@pytest.mark.parametrize(("sharing", "before"), [
    ({"kind": "cycle", "loop_from": 0.5}, 2), ({"kind": "all", "loop_from": 0.5}, 1)])
def test_loops_start_at_loop_from(sharing, before):
    model = shared_model(sharing.pop("kind"), **sharing)
    ready = checks.logits_of(model, ROWS)
    model.set_progress(0.4)
    early = checks.logits_of(model, ROWS)
    assert not torch.equal(early, ready)
    short = small_model(CELL, layers=before)
    short.load_state_dict({name: value for name, value in model.state_dict().items() if name in short.state_dict()})
    assert torch.equal(checks.logits_of(short, ROWS), early)
    checks.check_one_at_a_time(model, ROWS[0])
    model.set_progress(0.5)
    assert torch.equal(checks.logits_of(model, ROWS), ready)


@pytest.mark.shapes
@pytest.mark.parametrize("kind", ADAPTED)
def test_init_from_an_unshared_model(kind):
    """With adaptors of full rank the model computes what the unshared one did; without, the mean of what was."""
    source = small_model(CELL, Bytes(), layers=4)
    full = shared_model(kind, tokenizer=Bytes(), seed=5, rank=64, own_norms=True)
    init_from(full, source)
    torch.testing.assert_close(checks.logits_of(full, ROWS), checks.logits_of(source, ROWS), rtol=1e-8, atol=1e-8)
    plain = shared_model(kind, tokenizer=Bytes(), seed=5)
    init_from(plain, source)
    if kind == "all":
        want = torch.stack([block.ffn.up.weight for block in source.trunk.blocks]).mean(dim=0)
        torch.testing.assert_close(plain.trunk.blocks[0].ffn.up.weight, want)
    off = [_off(kind, source, rank) for rank in (0, 1, 6)]
    assert off[0] > off[1] > off[2]


@torch.no_grad()
def _off(kind, source, rank):
    """How far the matrices of a shared model are from the unshared ones."""
    model = shared_model(kind, tokenizer=Bytes(), seed=5, rank=rank)
    init_from(model, source)
    pairs = [(weights_of(mine), weights_of(theirs)) for mine, theirs in
             zip(model.trunk.blocks, source.trunk.blocks, strict=True)]
    return sum(float((mine[name] - theirs[name]).square().sum()) for mine, theirs in pairs for name in mine)


def test_init_from_the_same_model_and_from_one_that_does_not_fit():
    source, model = small_model(CELL, layers=2), small_model(CELL, layers=2, seed=3)
    init_from(model, source)
    assert torch.equal(checks.logits_of(model, ROWS), checks.logits_of(source, ROWS))
    apart, tied = small_model(CELL, encoder_layers=2), small_model(CELL, encoder_layers=2, tie_local=True, seed=3)
    init_from(tied, apart)
    want = (apart.encoder.blocks[1].down.weight + apart.decoder.blocks[1].down.weight) / 2
    torch.testing.assert_close(tied.encoder.blocks[1].down.weight, want)
    for depth in ("mixture", "skip"):
        source, model = (small_model(CELL, layers=4, depth=depth, seed=seed) for seed in (0, 3))
        init_from(model, source)
        assert torch.equal(checks.logits_of(model, ROWS), checks.logits_of(source, ROWS))
        init_from(model, small_model(CELL, layers=4))  # it begins with gates of its own
    source = small_model(CELL, layers=2)
    for changes, message in (({"layers": 3}, "has 2 layers"), ({"layers": 2, "local_dim": 12}, "in that model"),
                             ({"layers": 2, "dim": 24}, "in that model")):
        with pytest.raises(UserError, match=message):
            init_from(small_model(CELL, **changes), source)


def test_weights_of_a_use_are_kept_until_one_changes():
    model = shared_model("all", **OWN)
    block = model.trunk.blocks[0]
    with torch.no_grad():
        first = block.own.weights(block.shared)
        assert block.own.weights(block.shared) is first
        next(iter(block.own.up.values())).add_(1.0)
        assert block.own.weights(block.shared) is not first
    name = next(iter(first))
    assert block.own.weights(block.shared)[name].requires_grad
    changed = functional_call(block.shared, block.own.weights(block.shared), (torch.zeros(1, 1, 16).double(), block.context(
        torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long), torch.float64), None))[0]
    assert changed.isfinite().all()


def test_a_run_is_initialised_from_another(tmp_path, monkeypatch):
    from tests.train.tiny import tiny_config, tiny_trainer
    monkeypatch.chdir(tmp_path)
    first = tiny_trainer(tmp_path / "runs" / "first", steps=3)
    first.run()
    config = tiny_config(steps=3, init_from="first")
    second = tiny_trainer(tmp_path / "runs" / "second", config=config)
    trained = first.usable_model()
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name
    late = dataclasses.replace(config, model=decode(ModelConfig, {"layers": 2, "sharing": {"kind": "all", "loop_from": 0.5}},
                                                    config.model), train=dataclasses.replace(config.train, init_from=None))
    run = tiny_trainer(tmp_path / "runs" / "late", config=late)
    seen = []
    plain = run.advance
    monkeypatch.setattr(run, "advance", lambda: (plain(), seen.append(run.model.trunk.active)))
    run.run()
    assert seen == [1, 1, 2]
