"""What the benchmarks compare with is what it says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from benchmarks import nanogpt

RECIPE = nanogpt.Recipe(layers=2, heads=2, dim=16, context=8, batch_size=4, warmup=5)
TEXT = np.frombuffer(b"the cat sat on the mat and the dog lay by the door. " * 8, dtype=np.uint8)


def test_attention_written_out_is_attention():
    torch.manual_seed(0)
    model = nanogpt.NanoGPT(RECIPE).double()
    rows = torch.randint(0, 256, (3, 8))
    fused = model(rows)
    for layer in model.layers:
        layer.recipe = dataclasses.replace(RECIPE, explicit=True)
    torch.testing.assert_close(model(rows), fused)


@pytest.mark.parametrize("n", [5, 8, 9, 13, 30])
def test_every_byte_but_the_first_is_scored_once(n):
    """A model that knows nothing but its tokens needs the same bits for each."""
    model = nanogpt.NanoGPT(RECIPE)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert nanogpt.bits_per_byte(model, TEXT[:n]) == pytest.approx(math.log2(256))
    short = nanogpt.NanoGPT(RECIPE)
    with torch.no_grad():
        whole = short(torch.from_numpy(TEXT[None, :7].astype(np.int64))).log_softmax(-1)
        bits = -whole[0].gather(1, torch.from_numpy(TEXT[1:8, None].astype(np.int64))).sum() / math.log(2) / 7
    assert nanogpt.bits_per_byte(short, TEXT[:8]) == pytest.approx(float(bits), rel=1e-5)


def test_the_recipe_learns():
    training = nanogpt.Training(dataclasses.replace(RECIPE, lr=1e-2), TEXT, seed=0, care=False)
    before = nanogpt.bits_per_byte(training.model, TEXT)
    for step in range(60):
        training.step(step / 60)
    assert nanogpt.bits_per_byte(training.model, TEXT) < 0.5 * before
    assert training.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 1e-2, rel=0.05)
