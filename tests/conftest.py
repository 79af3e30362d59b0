"""Shared parts of the tests: the combinations of the model's parts that they run over, and small models of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

if os.environ.get("STLM_SHAPES"):  # check shapes at every call, which takes as long as the calls of such small models
    install_import_hook(["stlm.nn", "stlm.model", "stlm.objective", "stlm.generate"], "beartype.beartype")

from stlm.data.shards import Shard
from stlm.model import small
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.text.tokenizer import Tokenizer
from stlm.text.tokenizer.bytes import ByteTokenizer
from tests.cells import CELLS, SLOTS, crossed

settings.register_profile("daily", deadline=None, max_examples=8, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("hunt", deadline=None, max_examples=10_000)  # by hand: new cases each time
settings.load_profile("daily")  # `make test-slow` asks for the other
torch.set_num_threads(1)  # the models here are far too small for more
TOGETHER = {"tests/cli/test_commands.py", "tests/cli/test_evaluating.py", "tests/cli/test_outputs.py",
            "tests/cli/test_reading.py", "tests/cli/test_terminal.py", "tests/compare/test_compare.py",
            "tests/evaluate/test_task_slot.py", "tests/fuzz/test_kills.py", "tests/text/test_world.py",
            "tests/train/test_checkpoints.py", "tests/processes/test_ranks.py",
            "tests/train/test_resuming.py"}  # files whose tests share what takes long to make


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


@pytest.fixture(params=[*CELLS, *(pytest.param(cell, marks=pytest.mark.slow) for cell in crossed())], ids=cell_id)
def cell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """One combination of the model's parts; a test that takes it runs for all of them: every day for those in which each pair
    of kinds meets, among the slow cases for many more.
    """
    return request.param


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Spread single tests over the workers, but keep files together whose tests share something expensive.

    ``--dist loadgroup`` is meant for that, but doesn't find its groups with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByTest(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return ByTest(config, log)


@pytest.fixture
def real_data() -> Path:
    """The folder of real text and benchmarks, from ``STLM_DATA``."""
    folder = os.environ.get("STLM_DATA")
    if not folder:
        pytest.skip("STLM_DATA is not set: no real text at hand")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the corpora that tests write out of the user's cache; tests of one process share them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def known_peak() -> Iterator[None]:
    """Tell runs how fast this machine is: a large product takes longer than their training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlm.train.machine.peak_flops", lambda device, precision: 1e11)
        yield
