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

install_import_hook(["stlm.nn", "stlm.model", "stlm.objective", "stlm.generate"], "beartype.beartype")  # check shapes

from stlm.config.decode import decode
from stlm.config.slot import kinds
from stlm.data.shards import Shard
from stlm.model.config import ModelConfig
from stlm.model.copying import CopyingConfig
from stlm.model.embedding import EmbeddingConfig
from stlm.model.head import HeadConfig
from stlm.model.lm import LM
from stlm.model.patching import PatchingConfig
from stlm.model.pooling import PoolingConfig
from stlm.nn.local import LocalConfig
from stlm.text.codec import Codec
from stlm.text.codec.bytes import ByteCodec

settings.register_profile("stlm", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("stlm")
torch.set_num_threads(1)  # the models here are far too small for more

SLOTS = {"patching": PatchingConfig, "pooling": PoolingConfig, "local": LocalConfig, "head": HeadConfig,
         "embedding": EmbeddingConfig, "copying": CopyingConfig}
# settings so small that every mechanism shows within a few bytes
SMALL = {"stride": {"stride": 3}, "whitespace": {"cap": 5}, "window": {"window": 4, "heads": 2}, "conv": {"taps": 3},
         "ngrams": {"orders": [2, 4], "rows": 50}, "recall": {"orders": [2], "rows": 50, "matches": [1, 3], "window": 13},
         "pointer": {"dim": 4, "window": 17}}
# Every combination of patching, pooling, local blocks and head, with embeddings and copying in turn; and every embedding
# and every copying with every patching. They meet the rest of the model in what they look back at only.
*_REST, _EMBEDDINGS, _COPYING = [kinds(slot) for slot in SLOTS.values()]
_IN_TURN = zip(itertools.product(*_REST), itertools.cycle(itertools.product(_EMBEDDINGS, _COPYING)), strict=False)
CELLS = list(dict.fromkeys([(*cell, *others) for cell, others in _IN_TURN]
                           + [(patching, "mean", "conv", "tied", embedding, copying) for patching in _REST[0]
                              for embedding, copying in zip(_EMBEDDINGS, itertools.cycle(reversed(_COPYING)), strict=False)]))


def cell_id(cell: tuple[str, ...]) -> str:
    return "-".join(cell)


def small_config(cell: tuple[str, ...], **changes: object) -> ModelConfig:
    """A tiny model of one cell; slots that it leaves out keep their default."""
    parts = {slot: {"kind": kind, **SMALL.get(kind, {})} for slot, kind in zip(SLOTS, cell, strict=False)}
    values = {"dim": 16, "layers": 2, "heads": 4, "kv_heads": 2, "local_dim": 8, "encoder_layers": 1,
              "decoder_layers": 2, "window": 7, **parts, **changes}
    return decode(ModelConfig, values, ModelConfig())


def small_model(cell: tuple[str, ...], codec: Codec | None = None, seed: int = 0, **changes: object) -> LM:
    """The same with all weights drawn at random (fresh models start as near-identities), in float64."""
    torch.manual_seed(seed)
    model = LM(small_config(cell, **changes), codec or ByteCodec()).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


class Letters(Codec):
    """Three symbols: a letter, a space and the one that opens a document."""

    def __init__(self) -> None:
        self.symbol_bytes, self.document = [b"a", b" ", b""], 2

    def encode(self, data: bytes) -> np.ndarray:
        return np.array([b"a ".index(bytes([byte])) for byte in data])

    def save(self, folder: Path) -> None:
        pass


def shard_of(documents: list[bytes], codec: Codec | None = None) -> Shard:
    """Documents as a split in memory."""
    codec = codec or ByteCodec()
    encoded = [codec.encode(document) for document in documents]
    starts = np.concatenate([[0], np.cumsum([len(symbols) for symbols in encoded])]).astype(np.int64)
    return Shard(np.concatenate(encoded), starts, sum(map(len, documents)))


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
