"""Shards become batches. A batch is a pure function of the seed and its first row, so resuming is exact and costs nothing.

An epoch has every document once, in an order drawn from the seed and the epoch: ``B d1 B d2 ... B``. B (BOS) opens a document
and ends the one before. That sequence is cut into rows. The rows are shuffled too, so that a batch isn't part of one long book.
Every token is predicted exactly once per epoch.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stlm.data.batch import Batch
from stlm.data.shards import Shard
from stlm.text.tokenizer import Tokenizer

# Finds what a model can say of rows of tokens alone: fields of `Inputs`, by name.
FromTokens = Callable[[Tensor], dict[str, Any]]


def completed(batch: Batch, from_tokens: FromTokens) -> Batch:
    """The batch and its parts with what ``from_tokens`` finds: ends of patches and sizes."""
    return dataclasses.replace(batch, **from_tokens(batch.inputs),
                               parts=tuple(completed(part, from_tokens) for part in batch.parts))


class Stream:
    """Batches of ``batch_size`` rows of ``seq_len`` tokens.

    seed: seed of the order; None keeps the order of the shard. stride: the number of new targets in a row. The other targets
    are context with weight 0; in the first row of an epoch all targets count. from_tokens: finds what the inputs alone decide.
    reshuffle: whether every epoch has an order of its own.
    """

    def __init__(self, shard: Shard, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int | None,
                 stride: int | None = None, from_tokens: FromTokens = lambda tokens: {}, reshuffle: bool = True) -> None:
        if shard.n_documents == 0:
            raise ValueError("a stream needs at least one document")
        self._shard, self._bos, self._from_tokens = shard, tokenizer.bos, from_tokens
        self._n_bytes = torch.tensor([len(token) for token in tokenizer.token_bytes])
        self._scored = torch.tensor([token == tokenizer.mark or len(data) > 0
                                     for token, data in enumerate(tokenizer.token_bytes)])
        self.seq_len, self.batch_size, self.seed, self.stride = seq_len, batch_size, seed, stride or seq_len
        self._total = len(shard.tokens) + shard.n_documents + 1
        self.epoch_rows = max(1, -(-(self._total - 1 - seq_len) // self.stride) + 1)
        self._reshuffle = reshuffle
        self._epoch, self._drawn = -1, threading.Lock()  # the lock lets only one thread draw an epoch's order at a time

    @property
    def epoch_batches(self) -> int:
        """Number of batches with all rows. The last one may be smaller if the order is the shard's."""
        return -(-self.epoch_rows // self.batch_size)

    def batch(self, number: int) -> Batch:
        """Batch ``number``, counted from 0 over all epochs."""
        return self.batch_from(number * self.batch_size)

    def batch_from(self, first: int) -> Batch:
        """The batch of ``batch_size`` rows from row ``first`` on, counted from 0 over all epochs."""
        numbers = [first + row for row in range(self.batch_size)]
        if self.seed is None:
            numbers = [row for row in numbers if row < self.epoch_rows]
        with self._drawn:
            tokens, own, *columns = self._rows(numbers)
        inputs, targets, counted = (torch.from_numpy(part) for part in (
            tokens[:, :-1].astype(np.int64), tokens[:, 1:].astype(np.int64), own))
        extra = {name: torch.from_numpy(np.ascontiguousarray(column[:, 1:]))
                 for name, column in zip(self._shard.columns, columns, strict=True)}
        scored, n_bytes = (facts.index_select(0, targets.flatten()).view_as(targets) for facts in (self._scored, self._n_bytes))
        batch = Batch(inputs=inputs, targets=targets, weights=counted.float(), counted=counted, scored=scored & counted,
                      n_bytes=n_bytes * counted, extra=extra)
        return completed(batch, self._from_tokens)

    def _rows(self, numbers: list[int]) -> list[np.ndarray]:
        """Rows of ``seq_len + 1`` tokens, zeros behind the last one; which targets are counted in their row; and rows of each
        column.
        """
        size, shard = self.seq_len + 1, self._shard
        counted = np.zeros((len(numbers), self.seq_len), dtype=bool)
        tokens = np.zeros((len(numbers), size), dtype=np.int32)
        columns = [np.zeros((len(numbers), size, *column.shape[1:]), column.dtype) for column in shard.columns.values()]
        for place, number in enumerate(numbers):
            epoch, row = divmod(number, self.epoch_rows)
            self._enter(epoch)
            start = int(self._deal[row]) * self.stride
            here = min(size, self._total - start)
            counted[place, 0 if start == 0 else self.seq_len - self.stride:here - 1] = True
            self._read(shard.tokens, self._bos, start, tokens[place, :here])
            for column, values in zip(columns, shard.columns.values(), strict=True):
                self._read(values, 0, start, column[place, :here])
        return [tokens, counted, *columns]

    def _enter(self, epoch: int) -> None:
        """Draw the order of documents and rows of one epoch."""
        if epoch == self._epoch:
            return
        n = self._shard.n_documents
        if self.seed is None:
            self._order, self._deal = np.arange(n), np.arange(self.epoch_rows)
        else:
            draw = np.random.Generator(np.random.Philox(key=[self.seed, epoch if self._reshuffle else 0]))
            self._order, self._deal = draw.permutation(n), draw.permutation(self.epoch_rows)
        lengths = np.diff(self._shard.starts)[self._order]
        # the position of each document's BOS in the epoch's sequence
        self._opens = np.concatenate([[0], np.cumsum(lengths + 1)])
        self._epoch = epoch

    def _read(self, values: np.ndarray, opening: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with the epoch's sequence from ``start`` on, with ``opening`` where a document opens."""
        count, done, index = len(out), 0, int(np.searchsorted(self._opens, start, side="right")) - 1
        while done < count:
            within = start + done - int(self._opens[index])
            if within == 0:
                out[done] = opening
                done, within = done + 1, 1
            if done < count:
                first = int(self._shard.starts[self._order[index]]) + within - 1
                end = int(self._shard.starts[self._order[index] + 1])
                piece = values[first:min(end, first + count - done)]
                out[done:done + len(piece)] = piece
                done += len(piece)
            index += 1
