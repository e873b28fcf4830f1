"""Processes that read photographs: signals end one of them alone."""

import contextlib
import multiprocessing
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from machine import ending, workers


def wait_as_worker(ready):
    workers.become_worker()
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_signal_to_a_worker_ends_that_one_alone():
    context = multiprocessing.get_context("fork")
    here, wakes = socket.socketpair()
    here.setblocking(False)
    wakes.setblocking(False)
    before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    try:
        ready = context.Event()
        worker = context.Process(target=wait_as_worker, args=(ready,))
        worker.start()
        assert ready.wait(10)
        left = Path(f"/dev/shm/paddle_{worker.pid}_1_2")
        left.touch()
        worker.terminate()
        worker.join(10)
    finally:
        signal.set_wakeup_fd(before)
    assert worker.exitcode == ending.TERMINATED
    assert not left.exists(), "batches that nobody took go with it"
    received = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            received += here.recv(64)
    assert signal.SIGTERM not in received  # others, such as SIGCHLD, may have come
