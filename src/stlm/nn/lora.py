"""Low-rank adaptors (LoRA, Hu et al. 2021, arXiv 2106.09685), with which uses of one shared module can differ.

Each use of a shared module has a small module of its own. It adds ``B A`` to every matrix of the shared module. It may also
have its own norms (Relaxed Recursive Transformers, Bae et al. 2024, arXiv 2410.20672), and a factor for the output. B starts at
zero and the factor at one, so all uses are equal at the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from stlm.nn.memory import KV
from stlm.nn.stack import Block
from stlm.nn.weights import Role


class Adaptors(nn.Module):
    """The weights that belong to one use of a module. rank: rank of the matrices that are added; norms: whether the use has its
    own gains; scales: whether it has a factor for the output.
    """

    def __init__(self, shared: nn.Module, rank: int, norms: bool, scales: bool) -> None:
        super().__init__()
        self.down, self.up, self.gains = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for name, module in shared.named_modules():
            key = name.replace(".", "/")  # names of parameters hold no dots
            roles = getattr(module, "roles", {})
            if roles.get("weight") in (Role.MATRIX, Role.VECTOR) and rank > 0:  # those that don't grow with the width too
                self.down[key] = nn.Parameter(torch.randn(rank, module.in_features) * module.in_features**-0.5)
                self.up[key] = nn.Parameter(torch.zeros(module.out_features, rank))
            elif roles.get("gain") is Role.NORM and norms:
                self.gains[key] = nn.Parameter(torch.ones_like(module.gain))
        self.scale = nn.Parameter(torch.ones(())) if scales else None
        self._cached: tuple[Any, dict[str, Tensor]] | None = None

    def weights(self, shared: nn.Module) -> dict[str, Tensor]:
        """The weights of this use, by their names in ``shared``. Without gradients they are cached until a parameter changes.
        """
        if torch.is_grad_enabled():
            return self._adapted(shared)
        state = [(p.data_ptr(), p._version) for module in (self, shared) for p in module.parameters()]
        if self._cached is None or self._cached[0] != state:
            with torch.inference_mode(False):
                self._cached = (state, self._adapted(shared))
        return self._cached[1]

    def _adapted(self, shared: nn.Module) -> dict[str, Tensor]:
        out = {f"{key.replace('/', '.')}.gain": gain for key, gain in self.gains.items()}
        for key, down in self.down.items():
            name = key.replace("/", ".")
            out[f"{name}.weight"] = shared.get_submodule(name).matrix() + self.up[key] @ down  # type: ignore[operator]
        return out

    @torch.no_grad()
    def imitate(self, shared: nn.Module, wanted: dict[str, Tensor]) -> None:
        """Make the weights of this use as close to ``wanted`` as its rank allows, by the singular value decomposition of the
        difference. ``wanted``: weights by their names in ``shared``.
        """
        for key, gain in self.gains.items():
            gain.copy_(wanted[f"{key.replace('/', '.')}.gain"])
        for key, down in self.down.items():
            name = f"{key.replace('/', '.')}.weight"
            left, sizes, right = torch.linalg.svd(wanted[name] - shared.get_parameter(name), full_matrices=False)
            rank = min(down.shape[0], len(sizes))
            root = sizes[:rank].sqrt()
            down.zero_()
            down[:rank], self.up[key][:, :rank] = root[:, None] * right[:rank], left[:, :rank] * root


class AdaptedLayer(nn.Module):
    """One use of a layer that works on each position separately."""

    adapted = True

    def __init__(self, shared: nn.Module, rank: int, norms: bool, scales: bool) -> None:
        super().__init__()
        self.shared, self.own = shared, Adaptors(shared, rank, norms, scales)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        out = functional_call(self.shared, self.own.weights(self.shared), (x,))
        return out if self.own.scale is None else self.own.scale.to(out.dtype) * out


class AdaptedBlock(Block[Any]):
    """One use of a block."""

    adapted = True

    def __init__(self, shared: Block, rank: int, norms: bool, scales: bool) -> None:
        super().__init__()
        self.shared, self.own, self.lookback = shared, Adaptors(shared, rank, norms, scales), shared.lookback
        self.supports_bidirectional, self.value_width = shared.supports_bidirectional, shared.value_width

    def context(self, segment_ids: Int[Tensor, "batch total"], positions: Int[Tensor, "batch seq"], dtype: torch.dtype) -> Any:
        return self.shared.context(segment_ids, positions, dtype)

    def bidirectional_context(self, segment_ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "batch seq"],
                              dtype: torch.dtype, rows: Bool[Tensor, " batch"]) -> Any:
        return self.shared.bidirectional_context(segment_ids, positions, dtype, rows)

    def update_cache(self, past: KV | None, new: KV, lengths: Int[Tensor, " batch"] | None
                 ) -> KV:
        return self.shared.update_cache(past, new, lengths)

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Any, past: KV | None
                ) -> tuple[Float[Tensor, "batch seq dim"], KV]:
        out, new = functional_call(self.shared, self.own.weights(self.shared), (x, context, past))
        return (out if self.own.scale is None else x + self.own.scale.to(x.dtype) * (out - x)), new

    def kv_only(self, x: Float[Tensor, "batch seq dim"], context: Any, past: KV | None) -> KV:
        weights = {f"block.{name}": value for name, value in self.own.weights(self.shared).items()}
        return functional_call(_KVOnly(self.shared), weights, (x, context, past))


class _KVOnly(nn.Module):
    """A block whose call computes keys and values only. `functional_call` replaces weights only in calls of a module."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Float[Tensor, "batch seq dim"], context: Any, past: KV | None) -> KV:
        return self.block.kv_only(x, context, past)


def plain_parameters(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a module without its adaptors. Their names are those in a module that isn't shared."""
    if getattr(module, "adapted", False):
        yield from plain_parameters(module.get_submodule("shared"), prefix)
        return
    for name, parameter in module.named_parameters(recurse=False):
        yield prefix + name, parameter
    for name, part in module.named_children():
        yield from plain_parameters(part, f"{prefix}{name}.")


def adapted_parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Adaptors, nn.Module]]:
    """Every use of a shared part in a module: its prefix in a module that isn't shared, its adaptors, and the shared part."""
    if getattr(module, "adapted", False):
        yield prefix, module.get_submodule("own"), module.get_submodule("shared")  # type: ignore[misc]
        return
    for name, part in module.named_children():
        yield from adapted_parts(part, f"{prefix}{name}.")
