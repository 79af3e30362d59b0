"""The lock of a run's folder: only one process trains in it.

The lock is `flock` on the file ``.lock``, which ends with its process. Some file systems have no `flock`. There the file's
content counts, which names the process that holds the lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from stlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Held:
    """A lock that this process holds. identity: device and number of the locked file."""

    identity: tuple[int, int]

    def in_place(self, path: Path) -> bool:
        """Whether ``path`` is still the locked file. It isn't if its folder was deleted, even if the folder was made anew."""
        try:
            return _identity(os.stat(path)) == self.identity
        except OSError:
            return False


@contextlib.contextmanager
def hold(path: Path, folder: Path) -> Iterator[Held]:
    """A context in which this process holds the lock. UserError if another one holds it, or if it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: the run's folder cannot be written: {error.strerror}") from None
    try:
        if (owner := _taken(handle, fcntl.LOCK_EX)) is not None:
            raise UserError(f"{folder}: another process is training this run{owner}; wait for it, or choose another --name")
        _write(handle, _me())
        try:
            yield Held(_identity(os.fstat(handle)))
        finally:
            _write(handle, "")
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _taken(handle, fcntl.LOCK_SH) is not None
    finally:
        os.close(handle)


def _taken(handle: int, kind: int) -> str | None:
    """Take the lock. Returns None, or who has it, as words for a message, if it can't be taken."""
    owner = _owner(handle)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return f" ({owner})" if owner else ""
    except OSError:  # this file system has no locks
        return f" ({owner}; if none does, delete .lock)" if owner and _may_live(owner) else None
    return None


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _may_live(owner: str) -> bool:
    """Whether a lock names a process that may still run. One on another machine may."""
    named = re.fullmatch(r"process (\d{1,9}) on (.+)", owner)
    if named is None or int(named[1]) == os.getpid():
        return False
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return named[2] != socket.gethostname()
    except OSError:  # it is another user's process
        pass
    return True


def _owner(handle: int) -> str:
    return " ".join(os.pread(handle, 200, 0).decode("utf-8", errors="replace").split())


def _write(handle: int, text: str) -> None:
    """Say who holds the lock. It is only a hint where there is `flock`, so a full disk doesn't matter."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
