"""Small models of every kind for the checks of `stlm.model.checks`. They have a small width, are in float64, and all their
weights are random, because the blocks of a new model are close to the identity.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stlm.config.decode import decode, field_types
from stlm.config.slot import Slot, slot_of
from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.model.model_config import ModelConfig
from stlm.text.tokenizer import Tokenizer
from stlm.text.tokenizer.bytes import ByteTokenizer

SLOTS: dict[str, type[Slot]] = {name: slot for name, hint in field_types(ModelConfig).items() if (slot := slot_of(hint))}
BLOCKS: dict[str, dict[str, Any]] = {"attention": {"window": 4, "heads": 2}, "conv": {"kernel_size": 3},
                                     "linear": {"heads": 2, "key_dim": 3, "chunk": 4}}
# Settings by field and kind, small enough that every mechanism has an effect within a few bytes. A kind that isn't listed has
# its defaults. A name that isn't a kind is a variant: its settings give the kind.
SMALL: dict[str, dict[str, dict[str, Any]]] = {
    "patching": {"stride": {"stride": 3}, "whitespace": {"cap": 5}, "dynamic": {"target": 3},
                 "entropy": {"rule": "monotonic", "threshold": 0.05, "dim": 4, "layers": 1}},
    "pooling": {"attention": {"heads": 2}}, "local": BLOCKS,
    "trunk": {**BLOCKS, "attention": {"window": 7, "heads": 4, "kv_heads": 2, "gates": True, "rope_share": 0.5}},
    "head": {"parallel": {"slots": 4, "layers": 1, "heads": 2}, "late": {"at": 0.5, "softcap": 3.0}},
    "embedding": {"ngrams": {"orders": [2, 4], "rows": 50},
                  "recall": {"orders": [2], "rows": 50, "matches": [1, 3], "window": 13}},
    "copying": {"pointer": {"dim": 4, "window": 17}},
    "sharing": {"ffn": {"groups": 2, "own_scales": True}, "adjacent": {"rank": 2, "own_scales": True},
                "all": {"rank": 2}},
    "depth": {"early_exit": {"dropout": 0.3}, "exiting": {"kind": "early_exit", "exit_threshold": 0.3},
              "nested": {"kind": "mixture", "every": 1, "nested": True},
              "residual": {"unet": True, "ngrams": 50, "orders": [3, 6], "scalars": False},
              "with values": {"kind": "residual", "scalars": True, "values": 40, "orders": [5], "value_residual": True}},
}
NEEDS: dict[tuple[str, str], dict[str, Any]] = {("head", "parallel"): {"decoder_layers": 0}}  # fields that a kind requires


def small_config(parts: Mapping[str, str | Slot], **changes: Any) -> ModelConfig:
    """The config of a tiny model. parts: by field, the name of a kind or of a variant, or a config; other parts have their
    defaults. changes: values of other fields; slots may be given as in TOML. UserError if the parts don't fit together.
    """
    values: dict[str, Any] = {"dim": 16, "layers": 4 if {"sharing", "depth"} & parts.keys() else 2, "local_dim": 8,
                              "encoder_layers": 1, "decoder_layers": 2}
    for name, part in {"trunk": "attention", **parts}.items():
        values[name] = part if isinstance(part, Slot) else small_part(name, part)
        values |= NEEDS.get((name, values[name].kind), {})
    for name, value in changes.items():
        values[name] = _decoded(name, value) if name in SLOTS else value
    try:
        return ModelConfig(**values)
    except ValueError as error:
        raise UserError(f"model: {error}") from None


@functools.cache
def small_part(name: str, kind: str) -> Slot:
    """The part of this kind, or variant, for the field ``name`` of a small model."""
    return _decoded(name, {"kind": kind, **SMALL.get(name, {}).get(kind, {})})


def _decoded(name: str, value: Any) -> Slot:
    return value if isinstance(value, Slot) else getattr(decode(ModelConfig, {name: value}, ModelConfig(), check=False), name)


def random_model(config: ModelConfig, tokenizer: Tokenizer | None = None, seed: int = 0) -> LM:
    """The model in float64, with all weights random. The default tokenizer is `Bytes`."""
    torch.manual_seed(seed)
    model = LM(config, tokenizer or Bytes()).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.manual_seed(seed + 1)  # the weights of patching get their own seed, so that patches don't depend on the other parts
    for parameter in model.patching.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


class Bytes(ByteTokenizer):
    """Bytes. The space is the mark, for rules that need one."""

    mark = 32


class Letters(Tokenizer):
    """Three tokens: a letter, a space (which is the mark too), and the token that opens a document."""

    mark = 1

    def __init__(self) -> None:
        self.token_bytes, self.bos = [b"a", b" ", b""], 2

    def encode(self, data: bytes) -> np.ndarray:
        return np.array([b"a ".index(bytes([byte])) for byte in data])

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to store."""
