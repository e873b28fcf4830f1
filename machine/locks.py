"""Locks between processes. The system releases each one when its process ends, however it ends.

``locked`` uses filelock and waits. ``claim`` uses POSIX locks where the system has them, because they belong to one process:
forked readers of photographs inherit filelock's locks (flock), and would keep the claim of a killed training.
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
    """Wait for the lock on the file ``path`` and hold it in the block; raises OSError if the file cannot be locked."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(poll_interval=0.1)
    except NotImplementedError:  # some network file systems
        raise OSError(errno.ENOLCK, "the file system has no locks", str(path)) from None
    try:
        yield
    finally:
        lock.release()


def claim(path: os.PathLike[str]) -> AbstractContextManager[Any]:
    """Claim the file ``path`` for this process; the returned context manager holds the claim until its ``with`` block ends.

    Raises ClaimedError if another process holds it, OSError if the file cannot be made. A file system without locks, such as
    some network file systems, grants every claim.
    """
    if fcntl is None:
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
