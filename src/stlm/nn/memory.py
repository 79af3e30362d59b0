"""What parts of a model keep of the tokens that they have read, for texts that are read piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

from jaxtyping import Int
from torch import Tensor

KV = tuple[Tensor, ...]  # what one block keeps: keys and values, a state, or its last inputs


@dataclasses.dataclass
class Memory:
    """Base of all memories: dataclasses of tensors, of other memories, and of lists and tuples of them.

    Tensors have the batch as their first dimension. They are replaced when a memory moves on, never changed in place, so that
    copying a memory copies no numbers. By itself it is the memory of a part that keeps nothing.
    """

    def select(self, rows: Int[Tensor, " n"]) -> Self:
        """The memory of ``rows``, each as often as it's named: several texts go on from one beginning."""
        return self._map(lambda tensor: tensor.index_select(0, rows))

    def copy(self) -> Self:
        """The same memory, which stays as it is when this one moves on."""
        return self._map(lambda tensor: tensor)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
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
