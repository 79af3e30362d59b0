"""The lock of a run's folder, on every file system, and a folder that is replaced under a run."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys

import pytest

from stlm.errors import UserError
from stlm.train import lock
from stlm.train.folder import RunFolder
from tests.train.tiny import tiny_trainer

DEAD = 999_999_999  # no process has this number


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.get)
def no_flock(request, monkeypatch):
    """A file system without `flock`."""
    def refuse(*arguments):
        raise OSError(request.param, os.strerror(request.param))
    monkeypatch.setattr(lock.fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_flock")
def test_a_file_system_without_locks(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        assert (tmp_path / "run" / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not folder.busy
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "run" / ".lock").write_text(f"process {other.pid} on {socket.gethostname()}")
        assert folder.busy
        with pytest.raises(UserError, match=rf"another process is training this run \(process {other.pid} on .*delete .lock\)"):
            with folder.locked():
                pass
    finally:
        other.communicate(b"\n")
    assert not folder.busy
    with folder.locked():  # that process has ended
        pass


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize("stale", ["", f"process {DEAD} on {socket.gethostname()}", "123\n", "\0\xff", "process x on y"])
def test_a_stale_lock(tmp_path, stale):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_bytes(stale.encode("latin-1"))
    assert not folder.busy
    with folder.locked():
        pass


@pytest.mark.usefixtures("no_flock")
def test_a_lock_of_another_machine_may_be_held(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text(f"process {DEAD} on elsewhere")
    assert RunFolder(tmp_path / "run").busy


def test_a_lock_of_an_older_version(tmp_path):
    """With `flock` the content of the file doesn't matter."""
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    for content in ("", f"process {DEAD} on elsewhere", "anything"):
        (tmp_path / "run" / ".lock").write_text(content)
        assert not folder.busy
        with folder.locked():
            assert RunFolder(tmp_path / "run").busy


def test_looking_leaves_no_file(tmp_path):
    assert not RunFolder(tmp_path / "run").busy
    assert not (tmp_path / "run").exists()


def test_a_place_where_no_folder_can_be(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="the run's folder cannot be written: "):
        with RunFolder(tmp_path / "run").locked():
            pass


@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "made anew"])
@pytest.mark.parametrize("writes", ["a line", "a checkpoint"])
def test_a_folder_that_is_replaced_under_a_run(tmp_path, anew, writes):
    """The first trainer writes nothing into the folder of the second."""
    trainer = tiny_trainer(tmp_path / "run")
    with trainer.folder.locked():
        trainer.advance()
        trainer.save()
        shutil.rmtree(tmp_path / "run")
        if anew:
            second = RunFolder(tmp_path / "run")
            with second.locked():
                (tmp_path / "run" / "mine").write_text("x")
        with pytest.raises(UserError, match="this folder was deleted or replaced while the run was training") as caught:
            trainer.save() if writes == "a checkpoint" else trainer.log({"train/loss": 1.0})
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ([".lock", "mine", "run"] if anew else [])


def test_a_folder_that_is_moved_and_moved_back(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    with trainer.folder.locked():
        (tmp_path / "run").rename(tmp_path / "other")
        (tmp_path / "other").rename(tmp_path / "run")
        trainer.advance()
        trainer.save()
