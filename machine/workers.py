"""Processes that read photographs for the main process; they end when it ends, and leave nothing behind."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import NoReturn, Optional

from machine.interruption import TERMINATED

PR_SET_PDEATHSIG = 1  # of prctl(2), from Linux's sys/prctl.h


def become_worker(worker_id: Optional[int] = None) -> None:
    """Prepare a process that reads photographs; Paddle's loader calls it with the worker's number.

    Ctrl-C reaches the whole process group, but only the main process may act on it. On Linux this process ends when the main
    process dies, however it dies.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_at_sigterm()
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent died before the call of prctl
        _end_worker()


def remove_shared_batches(worker: int) -> None:
    """Remove the batches that the process ``worker`` (its id) has put into shared memory and the main process has not taken.

    They would stay there until the machine restarts, and containers have little shared memory.
    """
    for batch in Path("/dev/shm").glob(f"paddle_{worker}_*"):
        with contextlib.suppress(OSError):
            batch.unlink()


def _end_at_sigterm():
    """Let SIGTERM end this process at once, whatever it waits for.

    A handler in Python can come too late: the main thread acts on a signal that arrives just before it enters a wait in the
    kernel, or that the kernel gives to another thread, only after that wait. But Python writes the signal's number to a socket
    at once, and a thread reads it.
    """
    arrived, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)  # in place of the main process's: see machine/ending.py
    signal.signal(signal.SIGTERM, _end_worker)
    threading.Thread(target=_wait_for_sigterm, args=(arrived, wakes), daemon=True).start()


def _wait_for_sigterm(arrived, wakes):
    while arrived.recv(1)[0] != signal.SIGTERM:
        pass
    _end_worker()


def _end_worker(signum=None, frame=None) -> NoReturn:
    remove_shared_batches(os.getpid())
    os._exit(TERMINATED)
