"""Patches that end where the next byte is hard to guess (BLT, Pagnoni et al. 2024, arXiv 2412.09871, section 2.3).

A small frozen byte model, trained before with ``stlm train reader``, computes the entropy of the next byte. Its weights are
part of this model, and its parameters are counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stlm.config.bounds import Layers, Range, Size
from stlm.data.batch import Inputs
from stlm.errors import UserError
from stlm.model.embedding import ngrams
from stlm.model.layout import latest
from stlm.model.lm import LM, Cache
from stlm.model.model_config import ModelConfig
from stlm.model.patching import Boundaries, Patching, PatchingConfig, none
from stlm.model.pooling import last
from stlm.nn.block import conv
from stlm.nn.memory import Memory
from stlm.text.tokenizer import Tokenizer


def reader(dim: int, layers: int) -> ModelConfig:
    """The small byte model. It has hashed n-grams and convolutions, so it is cheap and sees about twenty bytes."""
    return ModelConfig(dim=dim, layers=layers, trunk=conv.Config(kernel_size=8), local_dim=dim, encoder_layers=0,
                       decoder_layers=0, embedding=ngrams.Config(rows=2048), patching=none.Config(), pooling=last.Config())


@dataclasses.dataclass(frozen=True)
class Config(PatchingConfig):
    """A patch ends where a small byte model is unsure about the next byte."""

    run: str = "reader"
    """Run or model with the small model's weights: the preset reader, trained with the same ``dim`` and ``layers``."""
    threshold: Annotated[float, Range(-1000, 1000)] = 2.0
    """A patch ends where the entropy of the next byte is above this many bits."""
    rule: Literal["global", "monotonic"] = "global"
    """global compares the entropy with the threshold; monotonic compares its rise since the last byte."""
    dim: Size = 64
    """Width of the small model."""
    layers: Layers = 3
    """Number of blocks in the small model."""

    def build(self, tokenizer: Tokenizer, dim: int) -> Entropy:
        return Entropy(tokenizer, self)


@dataclasses.dataclass
class ReaderMemory(Memory):
    """reader: the cache of the small model; entropy: the entropy [bits] after the last token."""

    reader: Cache
    entropy: Float[Tensor, "batch 1"]


class Entropy(Patching[ReaderMemory]):
    in_stream = False

    def __init__(self, tokenizer: Tokenizer, config: Config) -> None:
        super().__init__()
        self.config = config
        self.reader = LM(reader(config.dim, config.layers), tokenizer).requires_grad_(False)

    def load_frozen(self, load: Callable[[str, nn.Module], None]) -> None:
        try:
            load(self.config.run, self.reader)
        except UserError as error:
            raise UserError(f"model.patching.run: {error}; to train one of width 64 with 3 blocks:  stlm train reader --data "
                            "TEXT") from None

    def new_memory(self, batch: int, device: torch.device) -> ReaderMemory:
        return ReaderMemory(self.reader.new_cache(batch), self.reader.table.new_zeros(batch, 1))

    @torch.no_grad()
    def forward(self, tokens: Int[Tensor, "batch seq"], segment_ids: Int[Tensor, "batch seq"],
                positions: Int[Tensor, "batch seq"], encoded: Float[Tensor, "batch seq dim"] | None,
                memory: ReaderMemory | None, lengths: Int[Tensor, " batch"] | None) -> Boundaries:
        with torch.autocast(tokens.device.type, enabled=False):  # in bf16, decisions could differ from those in decoding
            logits = self.reader(Inputs(tokens, lengths=lengths), None if memory is None else memory.reader).logits
            log_p = logits.log_softmax(-1)
            entropy = -(log_p.exp() * log_p).sum(-1) / math.log(2)
        measure = entropy
        if self.config.rule == "monotonic":
            start = torch.zeros_like(entropy[:, :1]) if memory is None else memory.entropy
            measure = entropy - torch.cat([start, entropy[:, :-1]], dim=1)
        if memory is not None:
            memory.entropy = latest(entropy[..., None], lengths, memory.entropy)
        return Boundaries((measure > self.config.threshold) | (positions == 0))
