"""Processes watch each other: who is silent or stays behind is named and ended; who works alone, or is slow as ever, isn't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from stlm.train import watch
from stlm.train.watch import Sign, Watch


class Store(dict):
    """A store in this process. It may stop: then whoever asks it waits."""

    stopped = False

    def set(self, key: str, value: str) -> None:
        while self.stopped:
            time.sleep(0.01)
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


@pytest.fixture
def quick(monkeypatch):
    """All times are fifty times shorter."""
    for name in ("EVERY", "SILENT", "BROKEN", "BEHIND"):
        monkeypatch.setattr(watch, name, getattr(watch, name) / 50)


@pytest.fixture
def killed(monkeypatch) -> list[tuple[int, int]]:
    """Signals that were sent, instead of being sent. Only process 77 is there."""
    sent: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        if number:
            sent.append((pid, number))
        elif pid != 77:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    return sent


def watching(store: Store, other: int = 1, **signs: object) -> Watch:
    """The watch of the process that watches ``other``."""
    found = Watch(store, 0 if other else 1, 2, lambda *lost: None)
    found.place = 5
    return found


def live(store: Store, found: Watch, sign: str, seconds: float, other: int = 1) -> None:
    """Another process that lives, with this sign."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and found.lost is None:
        count += 1
        store.set(f"sign/{other}", sign.format(count=count))
        time.sleep(watch.EVERY / 2)


def test_a_silent_process_is_lost_and_ended(quick, killed):
    store = Store()
    found = watching(store)
    live(store, found, "{count} 5 0 1234 " + watch.socket.gethostname(), 0.3)
    assert found.lost is None
    time.sleep(watch.SILENT + 5 * watch.EVERY)
    assert found.lost == (1, "doesn't answer any more") and killed == [(1234, signal.SIGKILL)]
    found.close()


def test_one_on_another_machine_is_not_ended_from_here(quick, killed):
    store = Store({"sign/1": b"1 5 0 1234 elsewhere"})
    found = watching(store)
    time.sleep(watch.SILENT + 5 * watch.EVERY)
    assert found.lost is not None and not killed
    found.close()


@pytest.mark.parametrize(("sign", "lost"), [("{count} 4 0 1 elsewhere", True), ("{count} 5 0 1 elsewhere", False),
                                            ("{count} 4 1 1 elsewhere", False), ("{count} {count} 0 1 elsewhere", False)])
def test_who_stays_behind_is_lost(quick, killed, sign, lost):
    """Behind, with us, behind because the others wait for it, and going on."""
    store = Store()
    found = watching(store)
    live(store, found, sign, watch.BEHIND + 10 * watch.EVERY)
    assert found.lost == ((1, "does nothing any more") if lost else None)
    found.close()


def test_slow_steps_get_more_time(quick, killed):
    store = Store()
    found = watching(store)
    found.slowest = watch.BEHIND
    live(store, found, "{count} 4 0 1 elsewhere", watch.BEHIND + 10 * watch.EVERY)
    assert found.lost is None
    found.close()


@pytest.mark.parametrize(("stops", "pid", "lost"), [(True, 99, watch.SILENCE), (False, 99, watch.ENDED), (False, 77, None)])
def test_the_main_process_takes_the_store_with_it(quick, killed, stops, pid, lost):
    """It stands still, or it ends. Where torchrun keeps the store, it lives on."""
    store = Store({"sign/0": f"1 5 0 {pid} {watch.socket.gethostname()}".encode()})
    found = watching(store, other=0)
    time.sleep(3 * watch.EVERY)
    store.stopped = stops
    if not stops:
        store.set = None  # type: ignore[assignment]
    time.sleep(watch.SILENT + 5 * watch.EVERY)
    assert found.lost == ((0, lost) if lost else None)
    assert killed == ([(99, signal.SIGKILL)] if stops else [])
    store.stopped = False
    found.close()


def test_a_process_that_works_alone_is_interrupted(quick, killed):
    store = Store({"sign/1": b"1 5 0 1 elsewhere"})
    found = watching(store)
    with found.alone():
        time.sleep(watch.SILENT + 5 * watch.EVERY)
    assert killed == [(os.getpid(), watch.INTERRUPT)]
    found.close()


def test_a_sign_says_what_was_written():
    sign = Sign("3 7 1 42 host")
    assert (sign.count, sign.place, sign.alone, sign.pid, sign.host) == (3, 7, True, 42, "host")


def test_who_does_not_end_is_ended():
    """A process that can't be interrupted says who was lost, and ends."""
    code = ("import time; from stlm.train import watch\n"
            "watch.EVERY, watch.SILENT, watch.PATIENCE = 0.05, 0.5, 0.1\n"
            "class Store(dict):\n"
            "    set = lambda self, key, value: None\n"
            "    check = lambda self, keys: True\n"
            "    get = lambda self, key: b'1 1 0 1 elsewhere'\n"
            "watch.Watch(Store(), 0, 2, lambda other, why: print('process', other, why, flush=True))\n"
            "time.sleep(60)\n")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (1, "process 1 doesn't answer any more\n")
