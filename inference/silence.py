"""Hides what Paddle's C++ code prints while it makes and loads programs: notes to its developers, also on stdout."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def silenced(*streams: int) -> Iterator[None]:
    """Drop what the process writes to the file descriptors ``streams`` in the block; what Python has buffered is kept."""
    sys.stdout.flush()
    sys.stderr.flush()
    _flush_c()
    with contextlib.ExitStack() as undo, open(os.devnull, "wb") as nowhere:
        for stream in streams:
            try:
                kept = os.dup(stream)
            except OSError:  # the process has no such stream, as a service may
                continue
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, stream)
            os.dup2(nowhere.fileno(), stream)
        undo.callback(_flush_c)  # before the streams are back: C++ holds its lines where stdout is no terminal
        yield


def _flush_c():
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
