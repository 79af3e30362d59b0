"""Run one command in this process and look for faults: a traceback, a wrong exit status, a hang, a changed file elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import signal
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from stlm.cli import main

LONGEST = 60  # seconds; a command on a small input that takes longer hangs
ALLOWED = (0, 2, 130)  # exit statuses: done, wrong input, stopped by Ctrl-C


def examples(times: int) -> settings:
    """Settings of a test that runs commands: ``times`` as many cases as other tests have; ten thousand under ``hunt``."""
    return settings(max_examples=usual() if hunting() else times * usual(), suppress_health_check=list(HealthCheck))


def hunting() -> bool:
    """Whether the profile is ``hunt``, which looks for new faults by hand."""
    return usual() == settings.get_profile("hunt").max_examples


def usual() -> int:
    """The number of cases of the chosen profile."""
    assert settings.default is not None
    return settings.default.max_examples


class Hang(BaseException):
    """Raised in a command that takes too long. Not an Exception, so that no handler of the command catches it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did. faults: what it should not have done, one line each; empty if all is well."""

    status: int | None
    out: str
    err: str
    faults: tuple[str, ...]


def call(arguments: Sequence[str], folder: Path, elsewhere: Sequence[Path] = (), encoding: str = "utf-8") -> Outcome:
    """Run ``stlm ARGUMENTS`` in ``folder``. elsewhere: files and folders that it must leave as they are. encoding: of the
    terminal.
    """
    before, faults = [snapshot(path) for path in elsewhere], list[str]()
    out, err = _stream(encoding), _stream(encoding)
    status: int | None = None
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        try:
            with _limited():
                status = main(list(arguments))
        except SystemExit as ended:
            status = ended.code if type(ended.code) is int else 0 if ended.code is None else 1
        except Hang:
            faults.append(f"it takes more than {LONGEST} s")
        except BaseException:
            faults.append(traceback.format_exc())
    shown, said = _text(out), _text(err)
    if not faults and status not in ALLOWED:
        faults.append(f"exit status {status}")
    if "Traceback (most recent call last)" in said:
        faults.append(said)
    if status == 2 and not said.strip() and not shown.strip():
        faults.append("exit status 2 without a word")
    faults += [f"{path} was changed" for path, was in zip(elsewhere, before, strict=True) if snapshot(path) != was]
    return Outcome(status, shown, said, tuple(faults))


def snapshot(path: Path) -> dict[str, str]:
    """The content of a file, or of all files, links and folders below a folder, as hashes by path."""
    return {str(found): _content(found) for found in sorted([path, *path.rglob("*")])}


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "folder" if path.is_dir() else "other"


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
