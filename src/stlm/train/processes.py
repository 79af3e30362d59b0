"""Several processes that train one run, by PyTorch's own process groups. `torchrun` starts them, or ``--processes``.

What is on the CPU goes through gloo, what is on a GPU through NCCL. So agreeing on numbers that the host knows doesn't wait for
the GPU. Long waits (for the text, for a look) go through the store, which has no limit of time.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stlm.errors import UserError, in_one_line
from stlm.train.ranks import LostProcess, Ranks
from stlm.train.watch import INTERRUPT, Watch

T = TypeVar("T")
LIMIT = datetime.timedelta(days=1)  # of a collective; the watch ends it sooner where a process is lost
LOOK = datetime.timedelta(seconds=1)  # between looks whether another process was lost
FAREWELL = 10.0  # seconds that the main process waits for the others at the end
QUIET = 3.0  # the same where it ends early
START = datetime.timedelta(minutes=5)  # in which all processes have to be there


def open_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The ranks of this run: those that torchrun has started, or this process alone. UserError if they can't be reached."""
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    return Processes(int(environment.get("LOCAL_RANK", "0")))


class Processes(Ranks):
    def __init__(self, local_rank: int) -> None:
        self._local_rank, self._meetings, self._begun, self._last_tick = local_rank, 0, False, time.monotonic()
        try:
            self._store, self.rank, self.size = next(dist.rendezvous("env://", timeout=START))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size, timeout=LIMIT)
        except (RuntimeError, ValueError, StopIteration) as error:
            raise UserError(f"the processes of this run can't reach each other ({in_one_line(error)}); start "
                            "them with torchrun, or with --processes") from None
        self._watch = Watch(self._store.clone(), self.rank, self.size, self._tell)
        self._started_alone = self._watch.alone()  # until the first step, processes do different things
        self._started_alone.__enter__()
        signal.signal(INTERRUPT, self._interrupted)

    def device(self, wanted: torch.device) -> torch.device:
        if wanted.type != "cuda":
            return wanted
        if wanted.index is not None:
            raise UserError(f"--device {wanted}: each process takes a GPU of its own; use --device cuda")
        there, needed = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", self._local_rank + 1))
        if needed > there:
            raise UserError(f"processes on this machine: {needed}, GPUs: {there}; start as many processes as there are GPUs")
        torch.cuda.set_device(self._local_rank)
        return torch.device("cuda", self._local_rank)

    def sum(self, tensor: Tensor) -> Tensor:
        self.tick()
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(float(flag))))

    def from_main(self, make: Callable[[], T]) -> T:
        made: list[Any] = [None]
        if self.is_main:
            with self.alone():
                made = [make()]
        self.meet()
        dist.broadcast_object_list(made)
        return made[0]

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        if self.is_main:
            yield
            self.meet()
        else:
            self.meet()
            yield

    def meet(self) -> None:
        self.tick()
        self._meetings += 1
        place = f"meeting/{self._meetings}"
        if self.is_main:
            for other in range(1, self.size):
                self._wait_for(f"{place}/{other}")
            self._store.set(place, "")
        else:
            self._store.set(f"{place}/{self.rank}", "")
            self._wait_for(place)

    def _wait_for(self, key: str) -> None:
        while True:
            try:
                return self._store.wait([key], LOOK)
            except dist.DistStoreError:  # nobody has written it yet
                if self._watch.lost is not None:
                    raise

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._watch.alone():
            yield
        self._last_tick = time.monotonic()  # what was done alone doesn't count as slow work

    def tick(self) -> None:
        now = time.monotonic()
        if self._begun:
            self._watch.slowest = max(self._watch.slowest, now - self._last_tick)
        self._watch.place, self._last_tick = self._watch.place + 1, now

    def begin(self, patience: float) -> None:
        self.meet()
        self._begun, self._last_tick = True, time.monotonic()
        self._watch.behind += patience
        self._started_alone.__exit__(None, None, None)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except LostProcess:
            raise
        except (UserError, KeyboardInterrupt) as error:
            self._leave(str(error))
            raise
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or (lost := self._watch.find()) is None:
                raise
            raise self._lost(*lost) from error

    def _interrupted(self, number: int, frame: object) -> None:
        if self._watch.lost is not None:
            raise self._lost(*self._watch.lost)

    def _lost(self, other: int, why: str) -> LostProcess:
        if other == 0:
            self._tell(other, why)
        return LostProcess(self._named(other, why))

    def _named(self, other: int, why: str) -> str:
        with contextlib.suppress(RuntimeError):  # the store may be lost too
            if other and self._store.check([f"fault/{other}"]):
                why = f"says: {self._store.get(f'fault/{other}').decode()}"
        return f"process {other} of {self.size} (counted from 0) {why}"

    def _leave(self, fault: str) -> None:
        """Say what is wrong to the other processes. If this is the main one, they end without a word."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"fault/{self.rank}", fault)
            if self.is_main:
                self._wait_until_left(QUIET)

    def _wait_until_left(self, seconds: float) -> None:
        self._store.wait([f"left/{other}" for other in range(1, self.size)], datetime.timedelta(seconds=seconds))

    def _tell(self, other: int, why: str) -> None:
        """Say it, if this is the process that says it: the main one, or if that one was lost, the next."""
        if self.rank == (1 if other == 0 else 0):
            print(f"stlm: {self._named(other, why)}; what was saved stays; continue with --resume", file=sys.stderr, flush=True)

    def close(self) -> None:
        self.meet()
        self._watch.close()
        with contextlib.suppress(dist.DistStoreError):  # who waits here too long is late, and that is all
            if self.is_main:  # the store may be a thread of this process
                self._wait_until_left(FAREWELL)
            else:
                self._store.set(f"left/{self.rank}", "")
        dist.destroy_process_group()
