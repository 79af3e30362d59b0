"""Initialise a model with the weights of another model, whose layers may share less (Relaxed Recursive Transformers, Bae et al.
2024, arXiv 2410.20672, section 2.3).

A weight that several layers share, or that the encoder and the decoder share, becomes the mean of the source's weights.
Adaptors approximate the difference by its singular value decomposition. Routers and gates of ``depth`` are copied if both
models have them; otherwise they keep their initial weights. If both models are built alike, all weights are copied. What else a
model saves is copied too.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.nn.lora import Adaptors, adapted_parts, plain_parameters
from stlm.nn.weights import parameters_of


@torch.no_grad()
def init_from(model: LM, source: LM) -> None:
    """Give ``model`` the weights of ``source``. UserError if they don't fit."""
    if len(model.trunk.blocks) != len(source.trunk.blocks):
        raise UserError(f"train.init_from: that model has {len(source.trunk.blocks)} layers and this one "
                        f"{len(model.trunk.blocks)}; set --model.layers {len(source.trunk.blocks)}")
    rest, own = _outside_blocks(source), _outside_blocks(model)
    routers = {info.name for one in (model, source) for info in parameters_of(one) if info.in_trunk}
    for name in (rest.keys() ^ own.keys()) & routers:  # routers and gates that only one of the two models has
        rest.pop(name, None)
        own.pop(name, None)
    _check(own, rest)
    uses, owned = defaultdict[Tensor, list[Tensor]](list), list[tuple[Adaptors, nn.Module, dict[str, Tensor]]]()
    for name, value in own.items():
        uses[value].append(rest[name])
    for mine, theirs in zip(model.trunk.blocks, source.trunk.blocks, strict=True):
        wanted, plain = weights_of(theirs), dict[str, Tensor](plain_parameters(mine))
        _check(plain, wanted)
        for name, value in plain.items():
            uses[value].append(wanted[name])
        for prefix, adaptors, shared in adapted_parts(mine):
            owned.append((adaptors, shared, {name.removeprefix(prefix): value for name, value in wanted.items()
                                             if name.startswith(prefix)}))
    for value, found in uses.items():
        value.copy_(torch.stack(found).mean(dim=0))
    for adaptors, shared, wanted in owned:
        adaptors.imitate(shared, wanted)
    saved = source.state_dict()
    for name, buffer in model.named_buffers():
        if name in saved:
            buffer.copy_(saved[name])


def _outside_blocks(model: LM) -> dict[str, Tensor]:
    """All weights except those of the trunk's layers. A shared tensor is listed under each of its names."""
    inside = {id(parameter) for parameter in model.trunk.blocks.parameters()}
    return {name: value for name, value in model.named_parameters(remove_duplicate=False) if id(value) not in inside}


def weights_of(block: nn.Module) -> dict[str, Tensor]:
    """The weights of a block with its adaptors added. Their names are those in a block that isn't shared."""
    out: dict[str, Tensor] = dict(plain_parameters(block))
    for prefix, adaptors, shared in adapted_parts(block):
        out |= {prefix + name: value for name, value in adaptors.weights(shared).items()}
    return out


def _check(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    mine, theirs = ({name: value.shape for name, value in part.items()} for part in (weights, others))
    if mine != theirs:
        name = next(name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name))
        raise UserError(f"train.init_from: {name} is {_shape(theirs.get(name))} in that model and {_shape(mine.get(name))} in "
                        "this one; use the same widths, parts and tokenizer")


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"
