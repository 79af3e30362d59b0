"""Batches made ahead are the batches."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from tests.conftest import shard_of

from stlm.data.prefetch import THREADS, Prefetch
from stlm.data.stream import Stream
from stlm.text.tokenizer.bytes import ByteTokenizer

DOCUMENTS = [bytes([65 + i % 26]) * (5 + i) for i in range(40)]


def stream() -> Stream:
    return Stream(shard_of(DOCUMENTS), ByteTokenizer(), 16, 4, 0)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_whatever_is_asked_for_comes_in_whatever_order(ahead):
    shared, plain = stream(), stream()
    prefetch = Prefetch(lambda step: [shared.batch(2 * step), shared.batch(2 * step + 1)], ahead)
    for step in (0, 1, 2, 3, 40, 41, 7, 8, 0):  # on the way another one may use the same stream, across epochs too
        shared.batch(1000 - step)
        for batch, number in zip(prefetch(step), (2 * step, 2 * step + 1), strict=True):
            expected = plain.batch(number)
            assert torch.equal(batch.inputs, expected.inputs)
            assert torch.equal(batch.targets, expected.targets)
            assert torch.equal(batch.weights, expected.weights)
    prefetch.close()


def test_the_next_ones_are_made_before_they_are_asked_for():
    made = list[int]()
    prefetch = Prefetch(lambda step: made.append(step) or [], ahead=2)
    prefetch(3)
    prefetch(4)
    prefetch.close()
    assert set(made) >= {3, 4, 5} and set(made) <= {3, 4, 5, 6} and len(made) == len(set(made))


def test_a_fault_of_the_stream_is_raised_where_its_batch_is_asked_for():
    def make(step: int) -> list:
        if step == 1:
            raise ValueError("a damaged shard")
        return []

    prefetch = Prefetch(make, ahead=3)
    prefetch(0)
    with pytest.raises(ValueError, match="damaged"):
        prefetch(1)
    assert prefetch(2) == []
    prefetch.close()


def test_threads_end_with_the_run_and_begin_nothing_more():
    begun, go = list[int](), threading.Event()

    def make(step: int) -> list:
        begun.append(step)
        if step:
            assert go.wait(20)
        return []

    before = set(threading.enumerate())
    prefetch = Prefetch(make, ahead=8)
    prefetch(0)
    while len(begun) < 1 + THREADS:
        time.sleep(0.001)
    threading.Timer(0.1, go.set).start()
    prefetch.close()
    assert sorted(begun) == [0, 1, 2]
    assert not [thread for thread in set(threading.enumerate()) - before if "ThreadPool" in thread.name]


def test_without_steps_ahead_there_is_no_thread():
    before = threading.active_count()
    prefetch = Prefetch(lambda step: [], ahead=0)
    prefetch(0)
    assert threading.active_count() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process alone")
def test_ctrl_c_ends_a_process_whose_threads_work():
    code = ("import signal, time\nfrom stlm.data.prefetch import Prefetch\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background processes ignore it
            "prefetch = Prefetch(lambda step: time.sleep(0.3) or [], 8)\n"
            "print('begun', flush=True)\nstep = 0\nwhile True: prefetch(step); step += 1")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
