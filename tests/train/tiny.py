"""A run so small that it trains in a second."""

from __future__ import annotations

from pathlib import Path

import torch

from stlm.config.decode import decode
from stlm.data.shards import Corpus
from stlm.text.tokenizer.bytes import ByteTokenizer
from stlm.train.build import build_run
from stlm.train.folder import RunFolder
from stlm.train.loop import Callback, Trainer
from stlm.train.run_config import RunConfig
from tests.conftest import shard_of

TINY = """
base = "demo"
[model]
dim = 16
layers = 1
trunk = {heads = 2}
local_dim = 8
encoder_layers = 1
decoder_layers = 1
embedding = "tokens"
[train]
steps = 4
seq_len = 64
batch_size = 2
warmup = 1
log_every = 1
precision = "fp32"
compile = "off"
"""
STORY = b"The cat sat on mat %d, and the dog lay by door %d. Then it rained for %d days.\n"


def tiny_corpus() -> Corpus:
    texts = [STORY % (i, 7 * i % 11, i * i % 13) for i in range(40)]
    return Corpus("tiny", "0123456789abcdef", ByteTokenizer(), shard_of(texts[:36]), shard_of(texts[36:]), None)


def tiny_config(**train: object) -> RunConfig:
    model = {"dim": 16, "layers": 1, "trunk": {"heads": 2, "kv_heads": 1}, "local_dim": 8,
             "encoder_layers": 1, "decoder_layers": 1}
    steps = {"seq_len": 32, "batch_size": 4, "steps": 12, "warmup": 2, "precision": "fp32", "compile": "off",
             "checkpoint_every": 4, "log_every": 3, "averaging": {"kind": "ema", "decay": 0.9}, **train}
    return decode(RunConfig, {"model": model, "train": steps}, RunConfig())


def tiny_trainer(path: Path, resume: bool = False, callbacks: list[Callback] | None = None, config: RunConfig | None = None,
                 **train: object) -> Trainer:
    folder, config = RunFolder(path), config or tiny_config(**train)
    folder.create(config)
    return build_run(folder, config, tiny_corpus(), torch.device("cpu"), callbacks or [], folder.latest() if resume else None)
