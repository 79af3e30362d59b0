"""Number of parameters of a model."""

from __future__ import annotations

import dataclasses

from stlm.model.lm import LM
from stlm.nn.weights import Role, parameters_of


@dataclasses.dataclass(frozen=True)
class Count:
    """total: a shared weight counts once for each use; unique: every weight counts once, as it is stored. The others are parts
    of unique: tables (of tokens), trunk, and local (encoder, decoder, pooling, head, and the projections into and out of the
    trunk).
    """

    total: int
    unique: int
    tables: int
    local: int
    trunk: int


def count(model: LM) -> Count:
    """Count the parameters of a model."""
    found = parameters_of(model)
    unique = sum(info.parameter.numel() for info in found)
    tables = sum(info.parameter.numel() for info in found if info.role is Role.TABLE)
    trunk = sum(info.parameter.numel() for info in found if info.in_trunk and info.role is not Role.TABLE)
    total = sum(parameter.numel() for _, parameter in model.named_parameters(remove_duplicate=False))
    return Count(total, unique, tables, unique - tables - trunk, trunk)
