"""The size ladder: whole runs as functions. A name is the count of unique parameters, met within 3 %.

``10m-flat`` and ``10m-bpe`` are the controls of ``10m``: the same assembly with other parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stlm.model.config import ModelConfig
from stlm.model.copying import none as as_it_is
from stlm.model.copying import pointer
from stlm.model.embedding import ngrams, recall, symbols
from stlm.model.patching import none
from stlm.model.pooling import last
from stlm.nn.ffn import relu2
from stlm.optim import adamw
from stlm.text.codec import bpe
from stlm.train.config import DataConfig, RunConfig, TrainConfig


def demo() -> RunConfig:
    """2.5M parameters, chosen by measurement for three minutes on two CPU cores."""
    return RunConfig(
        data=DataConfig(megabytes=10.0),  # more than three minutes take in
        model=ModelConfig(dim=256, layers=2, heads=4, kv_heads=4, local_dim=128, encoder_layers=1, decoder_layers=2,
                          embedding=ngrams.Config(rows=4096), pooling=last.Config(), copying=pointer.Config()),
        optim=adamw.Config(lr=3e-3),
        train=TrainConfig(minutes=3.0, seq=2048, rows=2, decay=0.6, evaluate_every=100, sample_every=250))


def ten_million() -> RunConfig:
    """Hours on a laptop, minutes on a GPU."""
    return RunConfig(
        model=ModelConfig(dim=384, layers=3, heads=6, kv_heads=6, local_dim=128, encoder_layers=1, decoder_layers=2,
                          embedding=recall.Config(rows=32768), copying=pointer.Config()),
        optim=adamw.Config(lr=2e-3),
        train=TrainConfig(steps=20_000, seq=1024, rows=4, warmup=200, evaluate_every=500, checkpoint_every=500,
                          sample_every=500))


def fifty_million() -> RunConfig:
    """For one GPU."""
    return RunConfig(
        model=ModelConfig(dim=640, layers=9, heads=10, kv_heads=10, local_dim=384, encoder_layers=3, decoder_layers=3),
        optim=adamw.Config(lr=1.5e-3),
        train=TrainConfig(steps=15_000, seq=2048, rows=32, warmup=500, evaluate_every=1000, checkpoint_every=1000,
                          sample_every=1000))


def hundred_million() -> RunConfig:
    """For one large GPU."""
    return RunConfig(
        model=ModelConfig(dim=768, layers=13, heads=12, kv_heads=12, local_dim=384, encoder_layers=3, decoder_layers=3),
        optim=adamw.Config(lr=1e-3),
        train=TrainConfig(steps=30_000, seq=2048, rows=64, warmup=1000, evaluate_every=1000, checkpoint_every=1000,
                          sample_every=1000))


def ten_million_flat() -> RunConfig:
    """The control without pooling: the trunk reads every byte."""
    run = ten_million()
    model = dataclasses.replace(run.model, layers=6, ffn=relu2.Config(ratio=3.5), local_dim=384, encoder_layers=0,
                                decoder_layers=0, embedding=symbols.Config(), patching=none.Config(), pooling=last.Config(),
                                copying=as_it_is.Config())
    return dataclasses.replace(run, model=model, train=dataclasses.replace(run.train, seq=512))


def ten_million_bpe() -> RunConfig:
    """The control with a tokenizer: the trunk reads symbols of a byte-pair encoding trained on the same text."""
    run = ten_million_flat()
    model = dataclasses.replace(run.model, layers=4, ffn=relu2.Config(ratio=3.75), copying=pointer.Config(),
                                embedding=ngrams.Config(orders=(2,), rows=4096))
    return dataclasses.replace(run, model=model, data=DataConfig(codec=bpe.Config(vocabulary=4096)),
                               train=dataclasses.replace(run.train, seq=256))


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "demo": demo, "10m": ten_million, "50m": fifty_million, "100m": hundred_million,
    "10m-flat": ten_million_flat, "10m-bpe": ten_million_bpe,
}
