"""The processes that train one run together. One process is the case of one rank."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class Ranks:
    """A single rank. rank: number of this process, from 0. size: number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes, times and decides."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the tensors of all ranks, on every rank."""
        return tensor

    def broadcast(self, value: T) -> T:
        """The main rank's value, on every rank."""
        return value

    def barrier(self) -> None:
        """Wait until every rank is here."""
