"""Presets: functions that return whole runs. Most names are the number of unique parameters, correct within 3 %.

``10m-flat`` and ``10m-bpe`` are the controls of ``10m``: the same kind of model with other parts. ``reader`` is the small model
that patching by entropy needs. ``paper`` is the model of arXiv 2405.14159.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from stlm.model.copying import none as as_it_is
from stlm.model.copying import pointer
from stlm.model.embedding import ngrams, recall, tokens
from stlm.model.head import parallel
from stlm.model.model_config import ModelConfig
from stlm.model.patching import entropy, none, subword
from stlm.model.pooling import last, mean
from stlm.model.sharing import ffn
from stlm.nn.block import attention
from stlm.nn.ffn import relu2, swiglu
from stlm.optim import adamw
from stlm.text.tokenizer import bpe
from stlm.text.tokenizer import subword as marked
from stlm.train.run_config import DataConfig, RunConfig, TrainConfig


def demo() -> RunConfig:
    """2.5M parameters, chosen by measurement for three minutes on two CPU cores."""
    return RunConfig(
        data=DataConfig(megabytes=10.0),  # more than is read in three minutes
        model=ModelConfig(dim=256, layers=2, local_dim=128, encoder_layers=1, decoder_layers=2,
                          embedding=ngrams.Config(rows=4096), pooling=last.Config(), copying=pointer.Config()),
        optim=adamw.Config(lr=3e-3, local_lr_mult=2.0),
        train=TrainConfig(minutes=3.0, seq_len=2048, batch_size=2, cooldown=0.6, evaluate_every=100, sample_every=250))


def ten_million() -> RunConfig:
    """Hours on a laptop, minutes on a GPU. Most of its parameters are rows of n-grams, which cost no arithmetic
    (recipes/shapes_10m.py)."""
    return RunConfig(
        model=ModelConfig(dim=384, layers=1, trunk=attention.Config(heads=6), local_dim=128, encoder_layers=1, decoder_layers=2,
                          embedding=recall.Config(rows=60416), pooling=last.Config(), copying=pointer.Config()),
        optim=adamw.Config(lr=2e-3, beta2=0.98, local_lr_mult=2.0),
        train=TrainConfig(steps=20_000, seq_len=2048, batch_size=2, warmup=200, evaluate_every=500, checkpoint_every=500,
                          sample_every=500))


# The best learning rate of 10m, when it had three layers, at steps of 64 kB. With base_width it also suits other widths
# (recipes/transfer.py).
BY_WIDTH = adamw.Config(lr=4e-3, base_width=384)


def fifty_million() -> RunConfig:
    """For one GPU."""
    return RunConfig(
        model=ModelConfig(dim=640, layers=8, trunk=attention.Config(heads=10), local_dim=256, encoder_layers=2,
                          decoder_layers=2, embedding=recall.Config(rows=32768), pooling=last.Config(),
                          copying=pointer.Config()),
        optim=BY_WIDTH,
        train=TrainConfig(steps=15_000, seq_len=2048, batch_size=32, warmup=500, evaluate_every=1000, checkpoint_every=1000,
                          sample_every=1000))


def hundred_million() -> RunConfig:
    """For one large GPU."""
    return RunConfig(
        model=ModelConfig(dim=768, layers=11, trunk=attention.Config(heads=12), local_dim=256, encoder_layers=2,
                          decoder_layers=2, embedding=recall.Config(rows=73728), pooling=last.Config(),
                          copying=pointer.Config()),
        optim=BY_WIDTH,
        train=TrainConfig(steps=30_000, seq_len=2048, batch_size=64, warmup=1000, evaluate_every=1000, checkpoint_every=1000,
                          sample_every=1000))


def ten_million_shared() -> RunConfig:
    """Ten million unique parameters. All layers share one FFN; the saved parameters make it wider (recipes/shared_10m.py)."""
    run = _one_ffn(ten_million(), dim=512, layers=6)
    return dataclasses.replace(run, model=dataclasses.replace(run.model, embedding=recall.Config(rows=4096)),
                               optim=dataclasses.replace(BY_WIDTH, lr=2e-3))


def fifty_million_shared() -> RunConfig:
    """The same with fifty million."""
    return _one_ffn(fifty_million(), dim=896, layers=10)


def hundred_million_shared() -> RunConfig:
    """The same with a hundred million."""
    return _one_ffn(hundred_million(), dim=1152, layers=12)


def _one_ffn(run: RunConfig, dim: int, layers: int) -> RunConfig:
    """The run with a trunk in which all layers share one FFN."""
    model = dataclasses.replace(run.model, dim=dim, layers=layers, sharing=ffn.Config(),
                                trunk=attention.Config(heads=dim // 64, ffn=relu2.Config(ratio=5.0)))
    return dataclasses.replace(run, model=model)


def ten_million_flat() -> RunConfig:
    """The control without pooling: the trunk reads every byte."""
    run = ten_million()
    model = dataclasses.replace(run.model, layers=6, trunk=attention.Config(heads=6, ffn=relu2.Config(ratio=3.5)),
                                local_dim=384, encoder_layers=0, decoder_layers=0, embedding=tokens.Config(),
                                patching=none.Config(), pooling=last.Config(), copying=as_it_is.Config())
    return dataclasses.replace(run, model=model, optim=adamw.Config(lr=2e-3),
                               train=dataclasses.replace(run.train, seq_len=512, batch_size=4))


def ten_million_bpe() -> RunConfig:
    """The control with a tokenizer: the trunk reads tokens of a byte-pair encoding trained on the same text."""
    run = ten_million_flat()
    model = dataclasses.replace(run.model, layers=2, trunk=attention.Config(heads=6, ffn=relu2.Config(ratio=3.75)),
                                copying=pointer.Config(), embedding=ngrams.Config(orders=(2,), rows=12_900))
    return dataclasses.replace(run, model=model, data=DataConfig(tokenizer=bpe.Config(vocab_size=4096)),
                               optim=adamw.Config(lr=2e-3, beta2=0.98, local_lr_mult=2.0),
                               train=dataclasses.replace(run.train, seq_len=256))


def reader() -> RunConfig:
    """0.2M parameters: the byte model whose entropy decides where patches end (``--model.patching entropy``)."""
    cut = entropy.Config()
    return RunConfig(model=entropy.reader(cut.dim, cut.layers), optim=adamw.Config(lr=5e-3),
                     train=TrainConfig(minutes=2.0, seq_len=1024, batch_size=4, warmup=100))


def paper() -> RunConfig:
    """The byte-level model of arXiv 2405.14159, after its authors' code, with its errors corrected (docs/log.md). For one GPU.
    """
    return RunConfig(
        data=DataConfig(tokenizer=marked.Config(vocab_size=50_257, longest=12)),
        model=ModelConfig(dim=768, layers=10, trunk=attention.Config(heads=16, kv_heads=4, ffn=swiglu.Config(ratio=2.0)),
                          local_dim=128, local=attention.Config(heads=8, window=12), encoder_layers=4, decoder_layers=0,
                          patching=subword.Config(), pooling=mean.Config(),
                          head=parallel.Config(slots=13, layers=7, heads=8)),
        optim=adamw.Config(lr=6e-4),
        train=TrainConfig(steps=20_000, seq_len=2048, batch_size=32, warmup=500, evaluate_every=1000, checkpoint_every=1000,
                          sample_every=1000))


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "demo": demo, "10m": ten_million, "50m": fifty_million, "100m": hundred_million,
    "10m-shared": ten_million_shared, "50m-shared": fifty_million_shared, "100m-shared": hundred_million_shared,
    "10m-flat": ten_million_flat, "10m-bpe": ten_million_bpe, "reader": reader, "paper": paper,
}
