"""The processes that train one run together. One process is the case of one rank.

Only the main rank writes, times, decides and looks; the others have its decisions. `processes.Processes` is the case of several
ranks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from stlm.errors import UserError

T = TypeVar("T")


class LostProcess(UserError):
    """Another process of this run was ended, or does nothing any more, so the run can't go on. Nobody's input is at fault."""

    status = 1
    at_once = True  # threads of libraries still wait for the lost one


class Ranks:
    """A single rank. rank: number of this process, from 0. size: number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes, times and decides."""
        return self.rank == 0

    def device(self, wanted: torch.device) -> torch.device:
        """The device of this process. UserError if there are fewer devices than processes."""
        return wanted

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the tensors of all ranks, on every rank."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on some rank. All ranks get the same answer."""
        return flag

    def from_main(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on the main rank, on every rank. The others wait for it, however long it takes."""
        return make()

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """A context that the main rank has left before the others enter it."""
        yield

    def meet(self) -> None:
        """Wait until every rank is here, however long it takes."""

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A context of the main rank in which the others wait for it, however long it takes."""
        yield

    def tick(self) -> None:
        """Say that this process goes on. `meet` and `sum` say it too."""

    def begin(self, patience: float) -> None:
        """The first step comes now. From here on, a process that stays behind is lost. patience: seconds more that it has."""

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """A context in which a fault of another process becomes a `LostProcess` that says which one."""
        yield

    def close(self) -> None:
        """Leave the others. Every rank has to come here."""
