"""Weights that aren't finite are found before anybody looks at them, saves them or goes on from them."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch

from stlm.compress import publish, write_compressed
from stlm.config.files import read_json
from stlm.config.writing import write_json
from stlm.errors import UserError
from stlm.evaluate.archive import pack
from stlm.evaluate.bits import score
from stlm.evaluate.callbacks import Samples
from stlm.evaluate.native import NativeScorer
from stlm.evaluate.surprise import read
from stlm.evaluate.validation import Validation
from stlm.generate.sampling import Sampling
from stlm.generate.speculate import write_speculating
from stlm.generate.writer import write
from stlm.nn.weights import all_finite
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train.checkpoint import list_checkpoints, sha256
from stlm.train.folder import RunFolder, read_lines
from stlm.train.loop import Callback
from tests.conftest import shard_of, small_model
from tests.train.tiny import tiny_config, tiny_trainer


class Break(Callback):
    """Give one weight a value after a step."""

    def __init__(self, step: int, value: float, part: str = "model") -> None:
        self.step, self.value, self.part = step, value, part

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            next(getattr(trainer, self.part).parameters()).data.view(-1)[-1] = self.value


@pytest.mark.parametrize("tensors", [
    [torch.tensor([1.0, math.nan])], [torch.ones(3), torch.tensor([[-math.inf]])],
    [torch.tensor([1e30, math.inf], dtype=torch.bfloat16)],
    [torch.ones(2, dtype=torch.bfloat16), torch.tensor(math.nan)]], ids=str)
def test_one_number_is_enough(tensors):
    assert not all_finite(tensors)
    mended = [tensor.nan_to_num(0, 0, 0) for tensor in tensors]
    assert all_finite([*mended, torch.zeros(0), torch.tensor([3]), torch.tensor([3e38])]) and all_finite([])


@pytest.mark.parametrize(("step", "value", "part"), [
    (4, math.nan, "model"), (8, math.inf, "model"), (12, -math.inf, "model"), (12, math.nan, "ema"), (4, math.inf, "ema")])
def test_what_is_saved_is_finite(tmp_path, step, value, part):
    """Also after the last step, 12, and where only the averaged weights are broken."""
    with pytest.raises(UserError, match=f"step {step}: some weights are not finite any more; .*try a lower learning rate"):
        tiny_trainer(tmp_path / "run", callbacks=[Break(step, value, part)]).run()
    saved = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in saved] == [f"step_{n:07d}" for n in range(4, step, 4)]
    for path in saved:
        for name in ("model", "ema"):
            assert all_finite(safetensors.torch.load_file(path / f"{name}.safetensors").values())


@pytest.mark.parametrize("look", [Validation(), Samples(lambda step, text: pytest.fail("it wrote something"), 9)],
                         ids=["score", "sample"])
def test_nobody_looks_at_a_broken_model(tmp_path, look):
    trainer = tiny_trainer(tmp_path / "run", callbacks=[Break(5, math.nan), look], evaluate_every=5, sample_every=5)
    with pytest.raises(UserError, match="step 5: some weights"):
        trainer.run()
    assert all("val/excerpt_bits_per_byte" not in line for line in read_lines(tmp_path / "run" / "metrics.jsonl"))


def test_the_last_step_breaks_them(tmp_path, monkeypatch):
    monkeypatch.setattr("stlm.train.loop.set_learning_rate", lambda optimizers, factor: [
        group.update(lr=1e39) for optimizer in optimizers for group in optimizer.param_groups])
    config = tiny_config(steps=1, warmup=0, log_every=1)
    with pytest.raises(UserError, match="step 1: some weights .* there is no checkpoint yet"):
        tiny_trainer(tmp_path / "run", config=config).run()
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize("name", ["model", "ema"])
def test_a_checkpoint_of_broken_weights_is_refused(tmp_path, name):
    """One that another version has written, with sums that agree."""
    tiny_trainer(tmp_path / "run", steps=4).run()
    folder = RunFolder(tmp_path / "run")
    path = folder.latest().folder / f"{name}.safetensors"
    weights = safetensors.torch.load_file(path)
    next(iter(weights.values())).view(-1)[0] = math.nan
    safetensors.torch.save_file(weights, path)
    record = read_json(path.with_name("trainer.json"))
    record["sha256"][path.name] = sha256(path)
    write_json(path.with_name("trainer.json"), record)
    with pytest.raises(UserError, match=f"{name}.safetensors: some of these weights are not finite"):
        tiny_trainer(tmp_path / "run", resume=True, steps=8)
    if name == "ema":  # the weights that are used
        def shrink():
            write_compressed(folder.latest(), tmp_path / "small", publish.Config())

        for use in (folder.latest().build_model, shrink):
            with pytest.raises(UserError, match="not finite"):
                use()
        assert not (tmp_path / "small").exists()


def test_records_of_an_attempt_without_a_checkpoint_are_not_kept_twice(tmp_path):
    with pytest.raises(UserError, match="step 7: the gradient is nan; there is no checkpoint yet"):
        tiny_trainer(tmp_path / "run", callbacks=[Break(6, math.nan)], checkpoint_every=100, log_every=2).run()
    tiny_trainer(tmp_path / "run", resume=True, checkpoint_every=100, log_every=2).run()
    assert [line["step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("use", [
    lambda scorer, data: write(scorer.model, scorer.tokenizer, data, 9, Sampling(), 0),
    lambda scorer, data: write_speculating(scorer.model, scorer.tokenizer, data, 9, Sampling(), 0, 2),
    lambda scorer, data: [pack(scorer, data)], lambda scorer, data: [read(scorer.model, scorer.tokenizer, data)],
    lambda scorer, data: [score(scorer.model, shard_of([data]), scorer.tokenizer, 32, 1)],
    lambda scorer, data: scorer.likelihoods([("The", " cat")])],
    ids=["write", "speculate", "zip", "patches", "bits", "choices"])
def test_weights_that_are_finite_and_far_too_large(use):
    """Scores overflow then, and no token may be drawn by them."""
    model = small_model(("stride", "mean", "attention", "untied"), layers=2).float()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # those of norms; matrices would be normalised
            parameter.data.fill_(1e38)
    with pytest.raises(UserError, match="scores aren't finite"):
        list(use(NativeScorer("huge", model, ByteTokenizer(), 64), b"The cat sat on the mat."))
