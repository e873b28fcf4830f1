"""Processes that read photographs for the main process; they end when it ends, and leave nothing behind."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
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
    signal.set_wakeup_fd(-1)  # the inherited one belongs to the main process: see ending.handle_termination
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

    A thread waits for the signal, because a handler in Python can come too late: a signal that arrives just before the main
    thread enters a wait in the kernel is handled only after that wait.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        signal.signal(signal.SIGTERM, _end_worker)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in the thread too, which inherits it
    threading.Thread(target=_wait_for_sigterm, daemon=True).start()


def _wait_for_sigterm():
    signal.sigwait({signal.SIGTERM})
    _end_worker()


def _end_worker(signum=None, frame=None) -> NoReturn:
    remove_shared_batches(os.getpid())
    os._exit(TERMINATED)
