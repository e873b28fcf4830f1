"""Locks between processes. The system releases each one when its process ends, however it ends.

``locked`` waits; where the system has flock it uses that, because filelock waits for ever on a file system that has no locks.
``claim`` uses POSIX locks where the system has them, because they belong to one process: forked readers of photographs inherit
those of flock, and would keep the claim of a killed training.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Callable, TypeVar, Union

from messages.terminal import print_line, printable

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PAUSE = 0.1  # seconds between two tries
SECONDS_OF_SILENCE = 10  # until a line says what is waited for
Taken = TypeVar("Taken")


class ClaimedError(Exception):
    """Another process holds the claim."""


@contextlib.contextmanager
def locked(path: Union[str, os.PathLike[str]]) -> Iterator[bool]:
    """Wait for the lock on the file ``path`` and hold it in the block; raises OSError if the file cannot be made.

    Yields whether the lock is held: False on a file system without locks, such as some network file systems. There another
    process may be in the block too.
    """
    if fcntl is None:
        import filelock  # here, as in `claim`: every script imports this module, and most have fcntl

        with filelock.FileLock(path).acquire(poll_interval=PAUSE):
            yield True
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield _has_waited(handle, path)
    finally:
        with contextlib.suppress(OSError):  # without locks there is none
            fcntl.flock(handle, fcntl.LOCK_UN)  # a process forked meanwhile would keep it: to close the file is not enough
        os.close(handle)


def _has_waited(handle, path) -> bool:
    """Wait for the lock on an open file; False where the file system has none."""

    def lock():
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ClaimedError from None
            return False
        return True

    return _waited_for(lock, path)


def _waited_for(take: Callable[[], Taken], path: Union[str, os.PathLike[str]]) -> Taken:
    """What ``take`` returns as soon as it no longer raises ClaimedError; one line says so where that takes long."""
    started, said = time.monotonic(), False
    while True:
        try:
            return take()
        except ClaimedError:
            pass
        if not said and time.monotonic() > started + SECONDS_OF_SILENCE:
            said = True
            print_line(f"waiting for another process, which has locked {printable(path)} ...")
        time.sleep(PAUSE)


def claim(path: os.PathLike[str]) -> AbstractContextManager[Any]:
    """Claim the file ``path`` for this process; the returned context manager holds the claim until its ``with`` block ends.

    Raises ClaimedError if another process holds it, OSError if the file cannot be made. A file system without locks, such as
    some network file systems, grants every claim.
    """
    if fcntl is None:
        import filelock

        try:
            return filelock.FileLock(path).acquire(timeout=0)
        except filelock.Timeout:
            raise ClaimedError from None
    # Neither a link nor a pipe: the file may lie in a stranger's run folder
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    file = open(path, "r+", opener=lambda name, _: os.open(name, flags, 0o666))  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise ClaimedError from None
    return file


def claim_in_turn(path: os.PathLike[str]) -> AbstractContextManager[Any]:
    """As ``claim``, but waits while another process holds the claim."""
    return _waited_for(lambda: claim(path), path)
