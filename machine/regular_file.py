"""Opening files that are files: reading from a named pipe or a device in a file's place would wait for ever."""

import hashlib
import os
import stat
import sys
from typing import BinaryIO, Union

KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))


class NotRegularError(OSError):
    """What is there is no regular file, or larger than any that is expected; the message is the reason alone."""


def open_regular(path: Union[str, os.PathLike[str]], max_bytes: int) -> BinaryIO:
    """Open a regular file of at most ``max_bytes`` for reading bytes; raises OSError (NotRegularError) without waiting."""
    try:
        _check(os.stat(path), max_bytes)  # before it is opened: opening a device can act on it
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a NUL byte, or letters that the file system's encoding has not
        raise NotRegularError("no file can have such a name") from None
    try:
        _check(os.fstat(handle), max_bytes)  # it may have been exchanged meanwhile
        return open(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def sha256_of(path: Union[str, os.PathLike[str]], max_bytes: int = sys.maxsize) -> str:
    """SHA-256 of the content of a regular file of at most ``max_bytes``, in hexadecimal digits; raises OSError."""
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
        raise NotRegularError(f"{status.st_size:,} bytes, more than the {max_bytes:,} that are read")
