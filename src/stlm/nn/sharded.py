"""Tensors of which each process holds a part (PyTorch's DTensor), and all others, which these functions leave as they are.

PyTorch's module of them takes 0.7 s to import, so it is imported where there are such tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def _is_part(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def locals_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The parts that this process holds, without gradients. They share memory with ``tensors``."""
    parts: Iterable[Any] = (tensor.detach() for tensor in tensors)
    return [part.to_local() if _is_part(part) else part for part in parts]


def whole(tensor: Any) -> Tensor:
    """The whole tensor, on every process. All processes have to ask for it."""
    return tensor.full_tensor() if _is_part(tensor) else tensor


def sharded_like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor, which every process has, in parts like ``other``."""
    if not _is_part(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)
