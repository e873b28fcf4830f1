"""Processes that read photographs for the main process: they end when it does, and leave nothing behind."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn, Optional

from machine.ending import TERMINATED

PR_SET_PDEATHSIG = 1  # of prctl(2), from Linux's sys/prctl.h


def become_worker(worker_id: Optional[int] = None) -> None:
    """Prepare a process that reads photographs; Paddle's loader calls it with the worker's number.

    Ctrl-C reaches the whole process group, but only the main process is to act on it; and when that one dies, however it does,
    this one ends too.
    """
    signal.set_wakeup_fd(-1)  # the main process's: see ending.handle_termination
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before it could be asked for
        _end_worker()


def remove_shared_batches(worker: int) -> None:
    """Remove the batches that the reading process ``worker`` (its process id) has put into shared memory and nobody has taken.

    They would stay there until the machine is started anew, and containers have little of it.
    """
    for batch in Path("/dev/shm").glob(f"paddle_{worker}_*"):
        with contextlib.suppress(OSError):
            batch.unlink()


def _end_worker(signum=None, frame=None) -> NoReturn:
    remove_shared_batches(os.getpid())
    os._exit(TERMINATED)
