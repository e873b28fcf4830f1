"""Processes that read photographs: signals end one of them alone."""

import contextlib
import ctypes
import multiprocessing
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from machine import ending, workers


def wait_as_worker(ready):
    workers.become_worker()
    ready.set()
    time.sleep(60)


def wait_in_c_as_worker(ready):
    """As a worker that enters a wait just when the signal comes: Python's own handler would run only after the wait."""
    workers.become_worker()
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)  # zeros: PTHREAD_MUTEX_INITIALIZER
    libc.pthread_mutex_lock(mutex)
    ready.set()
    libc.pthread_mutex_lock(mutex)  # no signal interrupts it


def wait_beside_a_thread_as_worker(ready):
    """As a worker in which a library has a thread: the kernel may give the signal to that, which wakes nobody else."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    workers.become_worker()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of this thread alone
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
@pytest.mark.parametrize("wait", [wait_as_worker, wait_in_c_as_worker, wait_beside_a_thread_as_worker])
def test_a_signal_to_a_worker_ends_that_one_alone(wait):
    context = multiprocessing.get_context("fork")
    here, wakes = socket.socketpair()
    here.setblocking(False)
    wakes.setblocking(False)
    before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    try:
        ready = context.Event()
        worker = context.Process(target=wait, args=(ready,))
        worker.start()
        assert ready.wait(10)
        left = Path(f"/dev/shm/paddle_{worker.pid}_1_2")
        left.touch()
        worker.terminate()
        worker.join(10)
    finally:
        signal.set_wakeup_fd(before)
        worker.kill()
    assert worker.exitcode == ending.TERMINATED
    assert not left.exists(), "batches that nobody took go with it"
    received = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            received += here.recv(64)
    assert signal.SIGTERM not in received  # others, such as SIGCHLD, may have come
