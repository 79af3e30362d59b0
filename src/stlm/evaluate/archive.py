"""A proof of bits per byte: files are packed by arithmetic coding with a model, and unpacked again.

A token of probability p takes -log2 p bits. So the size of the packed file proves the bits per byte that the model claims.
Packing and unpacking compute the same numbers in the same order, token by token and on one thread. A file has to be unpacked on
a machine like the one where it was packed. A checksum finds differences.

Layout: magic and version; the model's fingerprint; the number of bytes, tokens and parts of the file; the number of tokens in a
window; the beginning of the file's sha256; the coded words; the beginning of the sha256 of all before it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import numpy as np

from stlm.errors import UserError
from stlm.evaluate.native import NativeScorer
from stlm.generate.session import Session
from stlm.train.machine import one_thread

MAGIC = b"STLMzip\x01"
HEAD = struct.Struct("<8s8sQQII8s")
SUM = 8  # bytes of a checksum
PART = 32_768  # least number of tokens of a part: each part begins without context, which costs some hundred bits
PARTS = 64  # most parts; they are read side by side

Progress = Callable[[float], None]


def pack(scorer: NativeScorer, data: bytes, progress: Progress = lambda share: None) -> bytes:
    """The packed form of ``data``."""
    import constriction

    tokens, coder = scorer.tokenizer.encode(data).astype(np.int32), constriction.stream.queue.RangeEncoder()
    parts = split(tokens)
    with one_thread():  # several threads may add numbers in another order
        lockstep = _Lockstep(scorer, len(parts))
        for step in range(len(parts[0])):
            given = np.array([part[step] for part in parts if step < len(part)], dtype=np.int32)
            coder.encode(given, _categorical(), lockstep.probabilities()[:len(given)])
            lockstep.feed(given)
            progress(step / len(parts[0]))
    head = HEAD.pack(MAGIC, bytes.fromhex(scorer.fingerprint), len(data), len(tokens), len(parts), scorer.limit, _sum(data))
    body = head + coder.get_compressed().astype("<u4").tobytes()
    return body + _sum(body)


def unpack(scorer: NativeScorer, packed: bytes, progress: Progress = lambda share: None) -> bytes:
    """The data that were packed. UserError if the file is damaged, or was packed with another model or on a machine that
    computes other numbers.
    """
    import constriction

    if len(packed) < HEAD.size + SUM or packed[:len(MAGIC)] != MAGIC:
        raise UserError("this file wasn't written by `stlm zip`")
    body, check = packed[:-SUM], packed[-SUM:]
    if _sum(body) != check:
        raise UserError("the file is damaged: its checksum is wrong; copy or download it again")
    _, model, n_bytes, vocab_size, n_parts, window, digest = HEAD.unpack_from(body)
    if model.hex() != scorer.fingerprint or window != scorer.limit:
        raise UserError(f"this file was compressed with another model (fingerprint {model.hex()}; this model has "
                        f"{scorer.fingerprint})")
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(body[HEAD.size:], dtype="<u4").astype(np.uint32))
    parts = np.array_split(np.zeros(vocab_size, dtype=np.int32), n_parts)
    with one_thread():
        lockstep = _Lockstep(scorer, n_parts)
        for step in range(len(parts[0])):
            running = [part for part in parts if step < len(part)]
            given = coder.decode(_categorical(), lockstep.probabilities()[:len(running)])
            for part, token in zip(running, given, strict=True):
                part[step] = token
            lockstep.feed(given)
            progress(step / len(parts[0]))
    data = scorer.tokenizer.decode(np.concatenate(parts).tolist())
    if len(data) != n_bytes or _sum(data) != digest:
        raise UserError("the restored file differs from the original: this machine, or its version of PyTorch, computes "
                        "other numbers than the machine that compressed it; restore it there")
    return data


def split(tokens: np.ndarray) -> list[np.ndarray]:
    """Split a file's tokens into parts that are read side by side. Longer parts come first."""
    return np.array_split(tokens, max(1, min(PARTS, len(tokens) // PART)))


def claimed_bits(scorer: NativeScorer, data: bytes) -> float:
    """Bits of all parts of a file by the model's likelihoods, without token-by-token coding."""
    parts = split(scorer.tokenizer.encode(data))
    return -sum(scorer.log_p_of_tokens(parts)) / np.log(2)


def _categorical() -> object:
    import constriction

    return constriction.stream.model.Categorical(perfect=False)


def _sum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:SUM]


class _Lockstep:
    """Reads several texts side by side, one token of each at a time.

    A window has as many tokens as the scorer's limit. When it is full, its second half becomes the beginning of the next.
    """

    def __init__(self, scorer: NativeScorer, rows: int) -> None:
        self._scorer, self._bos = scorer, scorer.tokenizer.bos
        self._room = max(2, scorer.limit - 1)
        self._read = np.empty((rows, 0), dtype=np.int32)
        self._new_window()

    def _new_window(self) -> None:
        """Start a window with the second half of the last one."""
        if self._read.shape[1]:
            self._read = self._read[:, self._read.shape[1] - (self._room - self._room // 2):]
        self._session = Session(self._scorer.model, self._scorer.tokenizer)
        self._session.feed([[self._bos, *row] for row in self._read.tolist()])

    def probabilities(self) -> np.ndarray:
        """Probabilities of the next token of each row: [row, token]."""
        return self._session.logits().double().softmax(-1).float().cpu().numpy()

    def feed(self, tokens: np.ndarray) -> None:
        """Feed the next token of the first ``len(tokens)`` rows. The texts of the other rows have ended; they get a filler."""
        new = np.full((len(self._read), 1), self._bos, dtype=np.int32)
        new[:len(tokens), 0] = tokens
        self._read = np.concatenate([self._read, new], axis=1)
        if self._read.shape[1] == self._room:
            self._new_window()
        else:
            self._session.feed(new.tolist())
