"""Prepare the next step's batches while a GPU computes this step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from stlm.data.batch import Batch


class Prefetch:
    """``make(step)``, computed one step ahead in a separate thread and put into pinned memory.

    Batches are a pure function of the step, so the results are the same as without prefetching.
    """

    def __init__(self, make: Callable[[int], list[Batch]]) -> None:
        self._make, self._pool = make, ThreadPoolExecutor(max_workers=1)
        self._next: tuple[int, Future[list[Batch]]] | None = None

    def __call__(self, step: int) -> list[Batch]:
        batches = self._next[1].result() if self._next is not None and self._next[0] == step else self._pinned(step)
        self._next = step + 1, self._pool.submit(self._pinned, step + 1)
        return batches

    def _pinned(self, step: int) -> list[Batch]:
        return [batch.pinned() for batch in self._make(step)]
