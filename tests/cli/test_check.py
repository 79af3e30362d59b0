"""``stlm check``: a good part passes, and each broken part fails the right check."""

from __future__ import annotations

import pytest
from tests.cli.conftest import stlm

from stlm.cli import check
from stlm.config.decode import decode
from stlm.config.slot import kinds, resolve
from stlm.errors import UserError
from stlm.model.small import SLOTS, small_part
from stlm.nn.ffn import FeedForwardConfig

POOLING = """
import dataclasses
import torch
from torch import nn
from stlm.model.pooling import Pooling, PoolingConfig

@dataclasses.dataclass(frozen=True)
class Config(PoolingConfig):
    scale: float = 1.0

    def build(self, dim):
        return Scaled(dim, self.scale)

class Scaled(Pooling):
    def __init__(self, dim, scale):
        super().__init__()
        self.gain = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x, layout):
        last = self.gain * layout.at_ends(x)
        return {result}
"""
BLOCK = """
import dataclasses
from stlm.nn.block import conv

@dataclasses.dataclass(frozen=True)
class Config(conv.Config):
    def build(self, dim):
        return Forgetful(dim, 2 * dim, self.kernel_size)

class Forgetful(conv.ConvBlock):
    def update_cache(self, past, new, lengths):
        return tuple(0.9 * state for state in super().update_cache(past, new, lengths))
"""
PARTS = {"good": POOLING.format(result="last"), "leaky": POOLING.format(result="last + last.roll(-1, dims=1)"),
         "narrow": POOLING.format(result="last[..., 1:]"), "forgetful": BLOCK,
         "typo": POOLING.format(result="layout.ends"), "other": "from stlm.optim.adamw import Config", "empty": "",
         "bare": POOLING.format(result="last").replace("scale: float = 1.0", "scale: float")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the parts. It is made once, because the modules stay imported."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "owns").mkdir()
    for name, text in PARTS.items():
        (folder / "owns" / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def few_models(request, home, monkeypatch):
    """Check only the first model, the one with the default parts. It is enough to find the broken parts."""
    monkeypatch.chdir(home)
    every = check.small_models
    if "every_model" not in request.fixturenames:
        monkeypatch.setattr(check, "small_models", lambda part, changes: every(part, changes)[:1])


@pytest.fixture
def every_model():
    """Check all models."""


def results(out: str) -> dict[str, str]:
    """The result of each check."""
    return {name: line.removeprefix(name).strip() for line in map(str.strip, out.splitlines()) for name in check.CHECKS
            if line.startswith(f"{name}  ")}


def test_a_good_part(capsys):
    status, out, err = stlm(capsys, "check", "owns.good", "--scale", "0.5", "--model.patching", "stride", "--model.layers", "1")
    assert (status, err) == (0, "")
    assert results(out) == dict.fromkeys(check.CHECKS, "passed")


@pytest.mark.slow
def test_a_good_part_beside_every_kind(capsys, every_model):
    status, out, _ = stlm(capsys, "check", "owns.good")
    assert status == 0 and "7 small models" in out


@pytest.mark.parametrize(("part", "failed", "sentence"), [
    ("leaky", "causal", "leaks to the scores of token"),
    ("forgetful", "the same in pieces and at once", "scores of one token at a time and of all at once differ by up to"),
])
def test_broken_parts(capsys, part, failed, sentence):
    status, out, err = stlm(capsys, "check", f"owns.{part}")
    assert (status, err) == (1, "")
    assert results(out)[failed] == "failed" and results(out)["a config survives JSON"] == "passed"
    line = next(line for line in out.splitlines() if line.startswith(f"{failed}: "))
    assert sentence in line and line.endswith("with the default parts")


@pytest.mark.parametrize(("part", "sentence"), [
    ("narrow", "Scaled of owns.narrow returned float64 [2, 16, 7] where the contract says [batch = 2, patch = 16, dim = 8]"),
    ("typo", "owns/typo.py, line 21: AttributeError: 'Layout' object has no attribute 'ends'"),
])
def test_wrong_shapes_and_faults_are_one_line(capsys, part, sentence):
    status, out, err = stlm(capsys, "check", f"owns.{part}")
    assert (status, err) == (1, "") and "Traceback" not in out
    assert f"{check.SHAPES}: {sentence}; with the default parts" in out.splitlines()
    assert results(out)["causal"] == "not run"


@pytest.mark.parametrize(("words", "message"), [
    (["owns.nothing"], "there is no module 'owns.nothing'; the name of the file mine/idea.py is mine.idea"),
    (["nowhere.idea"], "there is no module 'nowhere.idea'"),
    (["owns.empty"], "owns.empty: it needs a class Config that derives from the base of a part of the model"),
    (["owns.other"], "stlm.model.pooling.PoolingConfig"),
    (["owns.bare"], "owns.bare: Config() has to work, with a default for every field"),
    (["owns.good", "--scal", "2"], "there is no flag --scal (did you mean '--scale'?)"),
    (["owns.good", "--scale", "hot"], "scale: expected a number, found 'hot'"),
    (["owns.good", "--model.dimm", "3"], "there is no flag --model.dimm (did you mean '--model.dim'?)"),
    (["owns.good", "--model.layers", "0"], "layers = 0: it has to be 1 or more"),
])
def test_faults_of_the_input(capsys, words, message):
    status, out, err = stlm(capsys, "check", *words)
    assert status == 2 and out == "" and message in err and len(err.splitlines()) == 1


def test_every_part_is_checked_beside_every_kind(every_model):
    """Each kind of the other slots is in one of the models, as far as the kinds can be combined."""
    for name, slot in SLOTS.items():
        for kind in kinds(slot):
            part = small_part(name, kind)
            models = check.small_models(part, {})
            assert all(part in vars(model).values() for model in models) and len(models) < 10
            for other in set(SLOTS) - {field for model in models for field in SLOTS if getattr(model, field) == part}:
                met = {getattr(model, other).kind for model in models}
                assert len(met) >= len(kinds(SLOTS[other])) / 2, (kind, other)


def test_feed_forward_layers_stand_inside_of_blocks(every_model):
    part = resolve(FeedForwardConfig, "swiglu", "ffn")()
    models = check.small_models(part, {})
    assert {(name, block.kind) for model in models for name in ("trunk", "local")
            if getattr(block := getattr(model, name), "ffn", None) == part} == {
                (name, kind) for name in ("trunk", "local") for kind in ("attention", "linear")}


def test_what_goes_with_nothing_is_refused(every_model):
    with pytest.raises(UserError, match="doesn.t fit 3 heads"):
        check.small_models(decode(resolve(SLOTS["pooling"], "attention", "pooling"), {"heads": 3}), {})
