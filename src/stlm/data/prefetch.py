"""Prepare the batches of the next steps while a GPU computes this step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from stlm.data.batch import Batch

THREADS = 2  # one prepares about 30 MB/s of rows of 2048 bytes, with all that a GPU has to know (docs/log.md)


class Prefetch:
    """``make(step)``, computed up to ``ahead`` steps before it is asked for, in threads of their own, and put into pinned
    memory. With ``ahead`` = 0 it is computed when it is asked for.

    Batches are a pure function of the step, so the results are the same as without prefetching. An error is raised where its
    step is asked for.
    """

    def __init__(self, make: Callable[[int], list[Batch]], ahead: int) -> None:
        self._make, self._ahead = make, ahead
        self._pool = ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,))
        self._next: deque[tuple[int, Future[list[Batch]]]] = deque()  # of steps that follow each other

    def __call__(self, step: int) -> list[Batch]:
        if self._next and self._next[0][0] != step:
            self._forget()
        batches = self._next.popleft()[1].result() if self._next else self._pinned(step)
        for later in range(step + 1 + len(self._next), step + 1 + self._ahead):
            self._next.append((later, self._pool.submit(self._pinned, later)))
        return batches

    def close(self) -> None:
        """End the threads. What they work on is finished first, and what they haven't begun is left out."""
        self._forget()
        self._pool.shutdown()

    def _forget(self) -> None:
        while self._next:
            self._next.popleft()[1].cancel()

    def _pinned(self, step: int) -> list[Batch]:
        return [batch.pinned() for batch in self._make(step)]
