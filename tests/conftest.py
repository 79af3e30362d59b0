"""Shared parts of the tests: every combination of the model's parts, and small models of each."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

if os.environ.get("STLM_SHAPES"):  # check shapes at every call, which takes as long as the calls of such small models
    install_import_hook(["stlm.nn", "stlm.model", "stlm.objective", "stlm.generate"], "beartype.beartype")

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.shards import Shard
from stlm.model.copying import CopyingConfig
from stlm.model.embedding import EmbeddingConfig
from stlm.model.head import HeadConfig
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.model.patching import PatchingConfig
from stlm.model.pooling import PoolingConfig
from stlm.nn.block import BlockConfig
from stlm.text.tokenizer import Tokenizer
from stlm.text.tokenizer.bytes import ByteTokenizer

settings.register_profile("stlm", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("stlm")
torch.set_num_threads(1)  # the models here are far too small for more

SLOTS = {"patching": PatchingConfig, "pooling": PoolingConfig, "local": BlockConfig, "head": HeadConfig,
         "embedding": EmbeddingConfig, "copying": CopyingConfig, "trunk": BlockConfig}
BLOCKS = {"attention": {"window": 4, "heads": 2}, "conv": {"kernel_size": 3}, "linear": {"heads": 2, "key_dim": 3, "chunk": 4}}
# settings so small that every mechanism shows within a few bytes
SMALL = {"patching": {"stride": {"stride": 3}, "whitespace": {"cap": 5}, "dynamic": {"target": 3},
                      "entropy": {"rule": "monotonic", "threshold": 0.05, "dim": 4, "layers": 1}},
         "pooling": {"attention": {"heads": 2}}, "local": BLOCKS,
         "trunk": {**BLOCKS, "attention": {"window": 7, "heads": 4, "kv_heads": 2}},
         "head": {"parallel": {"slots": 4, "layers": 1, "heads": 2}},
         "embedding": {"ngrams": {"orders": [2, 4], "rows": 50},
                       "recall": {"orders": [2], "rows": 50, "matches": [1, 3], "window": 13}},
         "copying": {"pointer": {"dim": 4, "window": 17}}}


def _cells() -> list[tuple[str, ...]]:
    """Every combination of patching, pooling and head that isn't refused, with all combinations of the other parts in turn,
    and those that presets are made of.

    Local blocks, embedding, copying and trunk meet the rest of the model in what they look back at only.
    """
    of = {name: kinds(slot) for name, slot in SLOTS.items()}
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
    parts = {slot: {"kind": kind, **SMALL.get(slot, {}).get(kind, {})} for slot, kind in zip(SLOTS, cell, strict=False)}
    values = {"dim": 16, "layers": 2, "trunk": {"kind": "attention", **SMALL["trunk"]["attention"]}, "local_dim": 8,
              "encoder_layers": 1, "decoder_layers": 2, **parts, **changes}
    if "parallel" in cell:
        values["decoder_layers"] = 0
    return decode(ModelConfig, values, ModelConfig())


def small_model(cell: tuple[str, ...], tokenizer: Tokenizer | None = None, seed: int = 0, **changes: object) -> LM:
    """The same with all weights drawn at random (fresh models start as near-identities), in float64."""
    torch.manual_seed(seed)
    model = LM(small_config(cell, **changes), tokenizer or Bytes()).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.manual_seed(seed + 1)  # what cuts is drawn again, so that patches are the same whatever else a cell is made of
    for parameter in model.patching.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


class Bytes(ByteTokenizer):
    """Bytes, of which the space counts as the mark for rules that need one."""

    mark = 32


class Letters(Tokenizer):
    """Three tokens: a letter, a space, which counts as a mark too, and the one that opens a document."""

    mark = 1

    def __init__(self) -> None:
        self.token_bytes, self.bos = [b"a", b" ", b""], 2

    def encode(self, data: bytes) -> np.ndarray:
        return np.array([b"a ".index(bytes([byte])) for byte in data])

    def save(self, folder: Path) -> None:
        pass


def shard_of(documents: list[bytes], tokenizer: Tokenizer | None = None) -> Shard:
    """Documents as a split in memory."""
    return Shard.of(documents, tokenizer or ByteTokenizer())


ODD = {
    "one byte": b"x", "no spaces": b"abcdefghij" * 5, "only spaces": b" " * 40, "ten thousand letters": b"a" * 10_000,
    "chinese": "超小型语言模型逐字节地学习写作。".encode(),
    "emoji": "a\U0001f469\u200d\U0001f469\u200d\U0001f467b \U0001f389\U0001f389".encode(),
    "every byte": bytes(range(256)), "binary": bytes((i * 73 + 11) % 256 for i in range(300)),
    "new lines": b"\n\r\n\n \t\x00 \n", "half a character": b"\xe4\xb8", "the empty text": b"",
}


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
