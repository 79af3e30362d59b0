"""Memories: what parts of a model store between calls, for texts that are read piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from jaxtyping import Int
from torch import Tensor

M = TypeVar("M", bound="Memory")
KV = tuple[Tensor, ...]  # what one block stores: keys and values, a state, or its last inputs


@dataclasses.dataclass
class Memory:
    """Base of all memories. A memory is a dataclass of tensors, of other memories, and of lists and tuples of these.

    The first dimension of a tensor is the batch. An update replaces tensors and never changes them in place, so copying a
    memory copies no numbers. This class itself is the memory of a part that stores nothing.
    """

    def select(self: M, rows: Int[Tensor, " n"]) -> M:
        """The memory of ``rows``. A row may be listed several times, so that several texts continue from it."""
        return self._map(lambda tensor: tensor.index_select(0, rows))

    def copy(self: M) -> M:
        """A copy, which doesn't change when this memory is updated."""
        return self._map(lambda tensor: tensor)

    def _map(self: M, change: Callable[[Tensor], Tensor]) -> M:
        fields = {field.name: _mapped(getattr(self, field.name), change) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    match value:
        case Tensor():
            return change(value)
        case Memory():
            return value._map(change)
        case list() | tuple():
            return type(value)(_mapped(item, change) for item in value)
    return value
