"""Parameters, counted as stored: a weight that several parts share counts once."""

from __future__ import annotations

import dataclasses

from torch import nn

from stlm.model.lm import LM


@dataclasses.dataclass(frozen=True)
class Count:
    """total: each use of a weight counts; unique: each weight once, as it's stored. The parts are of unique weights:
    tables (of tokens), local (encoder, decoder, pooling, head, and the ways into the trunk and out), trunk.
    """

    total: int
    unique: int
    tables: int
    local: int
    trunk: int


def count(model: LM) -> Count:
    """Count the parameters of a model."""
    tables = _sizes(model.embedding) | {id(model.table): model.table.numel()}
    tables |= {id(p): p.numel() for name, p in model.patching.named_parameters() if "table" in name.split(".")}
    if (table := model.head.own_table()) is not None:
        tables |= _sizes(table)
    trunk = _sizes(model.trunk)
    everything = _sizes(model)
    total = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False))
    local = sum(everything.values()) - sum(tables.values()) - sum(trunk.values())
    return Count(total, sum(everything.values()), sum(tables.values()), local, sum(trunk.values()))


def _sizes(module: nn.Module) -> dict[int, int]:
    return {id(parameter): parameter.numel() for parameter in module.parameters()}
