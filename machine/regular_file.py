"""Opens regular files only: reading from a named pipe or a device in the place of a file could wait for ever."""

import hashlib
import os
import stat
import sys
from typing import BinaryIO, Union

KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


class NotRegularError(OSError):
    """Not a regular file, or a larger one than expected; the message is only the reason."""


def open_regular(path: Union[str, os.PathLike[str]], max_bytes: int) -> BinaryIO:
    """Open a regular file of at most ``max_bytes`` for reading bytes, without waiting; raises OSError, NotRegularError."""
    try:
        _check(os.stat(path), max_bytes)  # before opening it: to open a device can have effects
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
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


def _check(status, max_bytes):
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in KINDS if is_kind(status.st_mode)), "a device")
        raise NotRegularError(f"{kind}, not a file")
    if status.st_size > max_bytes:
        raise NotRegularError(f"{status.st_size:,} bytes, more than the maximum of {max_bytes:,}")
