"""Opens regular files only: reading from a named pipe or a device in the place of a file could wait for ever."""

import hashlib
import os
import stat
import sys
from typing import BinaryIO, Union

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a flag of os.open: fail where the file is a link; not on Windows
KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISLNK, "a link"))


class NotRegularError(OSError):
    """Not a regular file, or a larger one than expected; the message is only the reason."""


def open_regular(path: Union[str, os.PathLike[str]], max_bytes: int, follow_links: bool = True) -> BinaryIO:
    """Open a regular file of at most ``max_bytes`` for reading bytes, without waiting; raises OSError, NotRegularError.

    Without ``follow_links`` ``path`` itself must be no link; folders on the way to it may be.
    """
    try:
        # before opening it: to open a device can have effects
        _check(os.stat(path, follow_symlinks=follow_links), max_bytes)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags if follow_links else flags | NO_LINK)
    except ValueError:  # a NUL byte, or letters that the file system's encoding lacks
        raise NotRegularError("no file can have such a name") from None
    try:
        _check(os.fstat(handle), max_bytes)  # again, because the file may have been replaced since
        return open(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def sha256_of(path: Union[str, os.PathLike[str]], max_bytes: int = sys.maxsize) -> str:
    """SHA-256 of a regular file of at most ``max_bytes``, in hexadecimal digits; raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path, max_bytes) as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def kind_of(mode: int) -> str:
    """What a file's mode says that it is, if it is no regular file."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), "a device")


def _check(status, max_bytes):
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(f"{kind_of(status.st_mode)}, not a file")
    if status.st_size > max_bytes:
        raise NotRegularError(f"{status.st_size:,} bytes, more than the maximum of {max_bytes:,}")
