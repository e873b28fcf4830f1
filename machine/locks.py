"""Locks between processes. The system lets go of each one when its process ends, however it ends.

``locked`` is filelock's, and waits. ``claim`` is our own where the system has POSIX locks: those belong to one process, while
forked readers inherit filelock's (flock; in its versions for Python 3.9), and would hold the claim of a killed training.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import filelock

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


class ClaimedError(Exception):
    """Another process holds the claim."""


@contextlib.contextmanager
def locked(path: os.PathLike[str]) -> Iterator[None]:
    """Hold the file ``path`` locked, once whoever holds it lets go; raises OSError where there can be no lock."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(poll_interval=0.1)
    except NotImplementedError:  # some file systems of networks
        raise OSError(errno.ENOLCK, "the file system has no locks", str(path)) from None
    try:
        yield
    finally:
        lock.release()


def claim(path: os.PathLike[str]) -> AbstractContextManager[Any]:
    """Claim the file ``path`` for this process; returns what holds the claim until its ``with`` block ends.

    Raises ClaimedError where another process holds it, OSError where the file cannot be made. A file system without locks, such
    as some of networks, grants every claim.
    """
    if fcntl is None:
        try:
            return filelock.FileLock(path).acquire(timeout=0)
        except filelock.Timeout:
            raise ClaimedError from None
    file = open(path, "a+")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise ClaimedError from None
    return file
