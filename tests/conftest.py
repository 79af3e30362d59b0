"""Shared parts of the tests: every combination of the model's parts, and small models of each."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

if os.environ.get("STLM_SHAPES"):  # check shapes at every call, which takes as long as the calls of such small models
    install_import_hook(["stlm.nn", "stlm.model", "stlm.objective", "stlm.generate"], "beartype.beartype")

from stlm.config.slot import kinds
from stlm.data.shards import Shard
from stlm.model import small
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.text.tokenizer import Tokenizer
from stlm.text.tokenizer.bytes import ByteTokenizer

settings.register_profile("stlm", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("stlm")
torch.set_num_threads(1)  # the models here are far too small for more

# the order in which cells name their kinds; a cell may stop after any of them
SLOTS = list(dict.fromkeys(["patching", "pooling", "local", "head", "embedding", "copying", "trunk", *small.SLOTS]))


def _cells() -> list[tuple[str, ...]]:
    """Every combination of patching, pooling and head that isn't refused, with all combinations of the other parts in turn,
    and those that presets are made of.

    Local blocks, embedding, copying and trunk meet the rest of the model in what they look back at only.
    """
    of = {name: kinds(slot) for name, slot in small.SLOTS.items()}
    others = list(itertools.product(of["local"], of["embedding"], of["copying"], of["trunk"]))
    cells = [(patching, "last", "conv", "tied", "recall", "pointer", "attention") for patching in of["patching"]]
    for patching, pooling, head in itertools.product(of["patching"], of["pooling"], of["head"]):
        if patching == "none" and (pooling == "attention" or head == "parallel"):
            continue
        local, embedding, copying, trunk = others[17 * len(cells) % len(others)]  # 17 steps: each meets each of the others
        cells.append((patching, pooling, local, head, embedding, "none" if head == "parallel" else copying, trunk))
    return cells


CELLS = _cells()


def cell_id(cell: tuple[str, ...]) -> str:
    return "-".join(cell)


def small_config(cell: tuple[str, ...], **changes: object) -> ModelConfig:
    """A tiny model of one cell; slots that it leaves out keep their default."""
    return small.small_config(dict(zip(SLOTS, cell, strict=False)), **changes)


def small_model(cell: tuple[str, ...], tokenizer: Tokenizer | None = None, seed: int = 0, **changes: object) -> LM:
    """The same with all weights drawn at random (fresh models start as near-identities), in float64."""
    return small.random_model(small_config(cell, **changes), tokenizer, seed)


def shard_of(documents: list[bytes], tokenizer: Tokenizer | None = None) -> Shard:
    """Documents as a split in memory."""
    return Shard.of(documents, tokenizer or ByteTokenizer())


@pytest.fixture(params=CELLS, ids=cell_id)
def cell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """One combination of the model's parts; a test that takes it runs for all of them."""
    return request.param


@pytest.fixture
def real_data() -> Path:
    """The folder of real text and benchmarks, from ``STLM_DATA``."""
    folder = os.environ.get("STLM_DATA")
    if not folder:
        pytest.skip("STLM_DATA is not set: no real text at hand")
    return Path(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the corpora that tests write out of the user's cache; tests of one process share them."""
    monkeypatch.setenv("STLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
