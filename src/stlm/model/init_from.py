"""Beginning with the weights of another model, which may share less between its layers (Relaxed Recursive Transformers, Bae et
al. 2024, arXiv 2410.20672, section 2.3).

What several layers, or the encoder and the decoder, share becomes the mean of what they were; adaptors take what they can of
the difference, by its singular value decomposition. What decides about depth is taken where both have it, and begins anew
elsewhere. Between models alike, all weights are simply taken.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from stlm.errors import UserError
from stlm.model.lm import LM
from stlm.nn.lora import AdaptedBlock, AdaptedLayer, Adaptors


@torch.no_grad()
def init_from(model: LM, source: LM) -> None:
    """Give ``model`` the weights of ``source``. UserError where they don't fit."""
    if len(model.trunk.blocks) != len(source.trunk.blocks):
        raise UserError(f"train.init_from: that model has {len(source.trunk.blocks)} layers and this one "
                        f"{len(model.trunk.blocks)}; set --model.layers {len(source.trunk.blocks)}")
    rest, own = _outside_blocks(source), _outside_blocks(model)
    for name in rest.keys() ^ own.keys():  # routers and gates that one of the two has
        if name.startswith("trunk."):
            rest.pop(name, None)
            own.pop(name, None)
    _check(own, rest)
    uses, owned = defaultdict[Tensor, list[Tensor]](list), list[tuple[Adaptors, nn.Module, dict[str, Tensor]]]()
    for name, value in own.items():
        uses[value].append(rest[name])
    for mine, theirs in zip(model.trunk.blocks, source.trunk.blocks, strict=True):
        assert isinstance(mine, nn.Module) and isinstance(theirs, nn.Module)
        wanted = weights_of(theirs)
        plain = dict(_plain(mine))
        _check(plain, wanted)
        for name, value in plain.items():
            uses[value].append(wanted[name])
        for prefix, part in mine.named_modules():
            if isinstance(part, (AdaptedBlock, AdaptedLayer)):
                inside = f"{prefix}." if prefix else ""
                owned.append((part.own, part.shared, {name.removeprefix(inside): value for name, value in wanted.items()
                                                      if name.startswith(inside)}))
    for value, found in uses.items():
        value.copy_(torch.stack(found).mean(dim=0))
    for own_part, shared, wanted in owned:
        own_part.imitate(shared, wanted)


def _outside_blocks(model: LM) -> dict[str, Tensor]:
    """All weights but those of the trunk's layers; what has several names is one tensor under each of them."""
    return {name: value for name, value in model.named_parameters(remove_duplicate=False)
            if not name.startswith("trunk.blocks.")}


def weights_of(block: nn.Module) -> dict[str, Tensor]:
    """What a block computes with, by the names that it has in an unshared one: adaptors are added in."""
    out = dict(_plain(block))
    for prefix, part in block.named_modules():
        if isinstance(part, (AdaptedBlock, AdaptedLayer)):
            inside = f"{prefix}." if prefix else ""
            out |= {inside + name: value for name, value in part.own.weights(part.shared).items()}
    return out


def _plain(block: nn.Module) -> list[tuple[str, Tensor]]:
    """The weights of a block without its adaptors, by the names that they have in an unshared block."""
    return [(name.replace("shared.", ""), value) for name, value in block.named_parameters()
            if "own" not in name.split(".")]


def _check(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    mine, theirs = ({name: value.shape for name, value in part.items()} for part in (weights, others))
    if mine != theirs:
        name = next(name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name))
        raise UserError(f"train.init_from: {name} is {_said(theirs.get(name))} in that model and {_said(mine.get(name))} in "
                        "this one; use the same widths, parts and tokenizer")


def _said(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"
