"""A temporary folder of the process and those that it starts. It goes when that ends; after SIGKILL, the next removes it."""

import atexit
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Optional, Union

from machine.cache_folder import NAME, cache_root
from machine.held_folder import hold, make_held, remove_held, remove_left
from machine.private_folder import check_private, make_private

VARIABLE = "SA_NET_PADDLE_TEMPORARY"  # environment variable: tells the processes that this one starts where the folder is
PREFIX, LAST_PREFIX = f"{NAME}-", ".temporary-"
_made: Optional[Path] = None
_maker = 0  # id of the process that made the folder and removes it: forked readers of photographs must not


def temporary_folder(last_resort: Union[str, os.PathLike[str], None] = None) -> Path:
    """The folder, which nobody else can read; the first call makes it.

    Where no place of the system for temporary files can be written, it is made in the folder ``last_resort``, and everything
    else that this process and its compilers write for a while goes there too. Raises OSError.
    """
    global _made, _maker
    if _made is not None and _maker == os.getpid():
        return _made
    inherited = os.environ.get(VARIABLE)
    if inherited:
        with contextlib.suppress(OSError):
            check_private(Path(inherited))
            hold(Path(inherited))
            return Path(inherited)
    try:
        _made = make_held(PREFIX)
    except FileNotFoundError:  # tempfile tried all places, the current folder the last
        if last_resort is None:
            raise
        os.makedirs(last_resort, exist_ok=True)
        _made = make_held(LAST_PREFIX, os.path.abspath(last_resort))
        tempfile.tempdir = os.environ["TMPDIR"] = str(_made)
    os.environ[VARIABLE] = str(_made)
    _maker = os.getpid()
    atexit.register(remove_temporary_folder)
    return _made


def share_what_cannot_be_cached() -> None:
    """Make the folder now, if the cache folder is of no use: the processes that this one starts then share what they build."""
    try:
        make_private(cache_root())
    except OSError:
        with contextlib.suppress(OSError):  # then each says so itself
            temporary_folder()


def remove_temporary_folder() -> None:
    """Remove the folder if this process made it. Call it before os._exit, which skips what a process does at its end."""
    global _made
    if _made is not None and _maker == os.getpid():
        remove_held(_made)
        os.environ.pop(VARIABLE, None)
        _made = None


def remove_temporary_folders_left(last_resort: Union[str, os.PathLike[str], None] = None) -> None:
    """Remove the folders of processes that were killed; keep the one that this process has inherited. Never raises OSError."""
    inherited = os.environ.get(VARIABLE)
    if inherited:
        hold(Path(inherited))
    remove_left(PREFIX)
    if last_resort is not None:
        remove_left(LAST_PREFIX, os.path.abspath(last_resort))
