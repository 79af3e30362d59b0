"""The processes that train one run together. One process is the case of one rank."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class Ranks:
    """One rank: sums and values are its own. rank: of this process, from 0; size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes, times and decides."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, on all of them."""
        return tensor

    def broadcast(self, value: T) -> T:
        """The main rank's value, on all of them."""
        return value

    def barrier(self) -> None:
        """Wait until every rank is here."""
