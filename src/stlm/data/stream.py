"""Shards to batches: a pure function of the seed and the batch's number, so that resuming is exact and free.

An epoch is every document once, in an order drawn from the seed and the epoch: ``D d1 D d2 ... D``, where D opens a
document and thereby ends the one before. That sequence is cut into rows, and the rows are dealt in an order of their
own, so that a batch doesn't consist of one long book. Every token is predicted exactly once an epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stlm.data.batch import Batch
from stlm.data.shards import Shard
from stlm.text.tokenizer import Tokenizer

PATCH_ROOM = 16  # patches a row are rounded up to a multiple of this, so that few shapes occur


def rounded_up(n_patches: int) -> int:
    """Room for so many patches a row."""
    return -(-n_patches // PATCH_ROOM) * PATCH_ROOM


class Stream:
    """Batches of ``batch_size`` rows of ``seq_len`` tokens.

    seed: of the order; None keeps the order of the shard. stride: how many of a row's targets are new; the others
    are there as context, with weight 0 (the first row of an epoch counts whole). boundaries: finds where patches end
    from the inputs, where bytes alone decide it.
    """

    def __init__(self, shard: Shard, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int | None,
                 stride: int | None = None, boundaries: Callable[[Tensor], Tensor] | None = None) -> None:
        if shard.n_documents == 0:
            raise ValueError("a stream needs at least one document")
        self._shard, self._bos, self._boundaries = shard, tokenizer.bos, boundaries
        self._n_bytes = torch.tensor([len(token) for token in tokenizer.token_bytes])
        self._scored = torch.tensor([token == tokenizer.mark or len(data) > 0
                                     for token, data in enumerate(tokenizer.token_bytes)])
        self.seq_len, self.batch_size, self.seed, self.stride = seq_len, batch_size, seed, stride or seq_len
        self._total = len(shard.tokens) + shard.n_documents + 1
        self.epoch_rows = max(1, -(-(self._total - 1 - seq_len) // self.stride) + 1)
        self._epoch, self._drawn = -1, threading.Lock()  # one epoch's order is drawn at a time, whoever asks

    @property
    def epoch_batches(self) -> int:
        """Batches until every row was seen; the last may be smaller where the order is the shard's."""
        return -(-self.epoch_rows // self.batch_size)

    def batch(self, number: int) -> Batch:
        """Batch ``number``, counted from 0 over all epochs."""
        first = number * self.batch_size
        numbers = [first + row for row in range(self.batch_size)]
        if self.seed is None:
            numbers = [row for row in numbers if row < self.epoch_rows]
        with self._drawn:
            cut = [self._row(row) for row in numbers]
        inputs, targets = (torch.from_numpy(np.stack([row[i] for row in cut])) for i in (0, 1))
        weights = torch.from_numpy(np.stack([row[2] for row in cut]))
        ends = self._boundaries(inputs) if self._boundaries else None
        n_patches = None
        if ends is not None:
            n_patches = rounded_up(int(ends.sum(dim=1).max()))
        return Batch(inputs=inputs, targets=targets, weights=weights, n_bytes=self._n_bytes[targets],
                     scored=self._scored[targets], ends=ends, n_patches=n_patches)

    def _row(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        epoch, row = divmod(number, self.epoch_rows)
        self._enter(epoch)
        start = int(self._deal[row]) * self.stride
        tokens = self._read(start, min(self.seq_len + 1, self._total - start))
        weights = np.zeros(self.seq_len, dtype=np.float32)
        weights[0 if start == 0 else self.seq_len - self.stride:len(tokens) - 1] = 1
        padded = np.zeros(self.seq_len + 1, dtype=np.int64)
        padded[:len(tokens)] = tokens
        return padded[:-1], padded[1:], weights

    def _enter(self, epoch: int) -> None:
        """Draw the order of documents and rows of one epoch."""
        if epoch == self._epoch:
            return
        n = self._shard.n_documents
        if self.seed is None:
            self._order, self._deal = np.arange(n), np.arange(self.epoch_rows)
        else:
            draw = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            self._order, self._deal = draw.permutation(n), draw.permutation(self.epoch_rows)
        lengths = np.diff(self._shard.starts)[self._order]
        # where each document's opening token stands in the epoch's sequence
        self._opens = np.concatenate([[0], np.cumsum(lengths + 1)])
        self._epoch = epoch

    def _read(self, start: int, count: int) -> np.ndarray:
        """``count`` tokens of the epoch's sequence from ``start`` on."""
        out = np.empty(count, dtype=np.int64)
        done, place = 0, int(np.searchsorted(self._opens, start, side="right")) - 1
        while done < count:
            within = start + done - int(self._opens[place])
            if within == 0:
                out[done] = self._bos
                done, within = done + 1, 1
            if done < count:
                begin = int(self._shard.starts[self._order[place]]) + within - 1
                end = int(self._shard.starts[self._order[place] + 1])
                piece = self._shard.tokens[begin:min(end, begin + count - done)]
                out[done:done + len(piece)] = piece
                done += len(piece)
            place += 1
        return out
