"""Folders for what can be made again: corpora, compiled code, what the hub said last."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stlm.errors import UserError


def cache_folders() -> list[Path]:
    """Where to look, in this order. A user may have no home, or one that can't be written; training has to work all the same.
    """
    lasting = _lasting_folders()
    return lasting if os.environ.get("STLM_CACHE") else [*lasting, temporary_folder()]


def _lasting_folders() -> list[Path]:
    """``$STLM_CACHE``, or ``stlm`` in the user's cache folder. Empty for a user without a home."""
    named = os.environ.get("STLM_CACHE")
    if named:
        return [Path(os.path.expanduser(named))]
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(usual) / "stlm"] if os.path.isabs(usual) else []


def temporary_folder() -> Path:
    """A folder of this user among the system's temporary files. It is another one each time if somebody else took its name."""
    folder = Path(tempfile.gettempdir(), f"stlm-{os.getuid()}")
    try:
        status = folder.lstat()
    except OSError:
        return folder
    ours = status.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
    return folder if ours else Path(tempfile.mkdtemp(prefix="stlm-"))


def writable(folders: Sequence[Path]) -> Path:
    """The first folder in which files can be made. It is made if it isn't there. UserError if there is none."""
    faults = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            faults.append(cannot_write(folder, error))
    raise faults[0]


def cannot_write(folder: Path, error: OSError) -> UserError:
    """The error for a cache folder that can't be written."""
    return UserError(f"{folder}: the cache cannot be written ({error.strerror or error}); set STLM_CACHE to a folder with room")


def is_temporary(folder: Path) -> bool:
    """Whether a folder is one that the system may empty, because there was no other."""
    return not any(folder.is_relative_to(lasting) for lasting in _lasting_folders())


def remembered(name: str) -> str | None:
    """What `remember` kept under a name; None if nothing was, or if it can't be read."""
    for folder in cache_folders():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (folder / "remembered" / name).read_text(encoding="utf-8")
    return None


def remember(name: str, value: str) -> None:
    """Keep a line under a name. Nothing is kept where no cache can be written."""
    with contextlib.suppress(OSError, UserError):
        folder = writable(cache_folders()) / "remembered"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            path = Path(scratch, name)
            path.write_text(value, encoding="utf-8")
            path.replace(folder / name)
