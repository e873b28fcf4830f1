"""Temporary folders that know which processes use them. So what a killed process left can be told from what is in use.

Each process that uses one has claimed a file in it, and the system releases the claim when the process ends, however it ends. A
folder without such a file may be of another version, and is never removed.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, Union

from machine.locks import ClaimedError, claim

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

USER = ".used-by-"  # and the number of a process: the file that it has claimed
NEW = ".new-"  # before the name of a folder in which nothing is claimed yet
_claims: dict[Path, Any] = {}  # that this process holds


def make_held(prefix: str, place: Union[str, os.PathLike[str], None] = None) -> Path:
    """Make a temporary folder that nobody else can read, in ``place`` or else the system's, and hold it. Raises OSError."""
    if os.name != "posix":  # elsewhere no folder is renamed that has an open file in it
        return Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    new = Path(tempfile.mkdtemp(prefix=f"{NEW}{prefix}", dir=place))
    folder = new.with_name(new.name[len(NEW) :])
    held = claim(new / f"{USER}{os.getpid()}")
    os.rename(new, folder)
    _claims[folder] = held
    return folder


def hold(folder: Path) -> None:
    """Keep ``folder`` until this process ends, even if the one that made it is killed before."""
    if os.name == "posix" and folder not in _claims:
        with contextlib.suppress(OSError, ClaimedError):  # removed meanwhile
            _claims[folder] = claim(folder / f"{USER}{os.getpid()}")


def remove_held(folder: Path) -> None:
    """Remove ``folder``, which this process made."""
    shutil.rmtree(folder, ignore_errors=True)
    held = _claims.pop(folder, None)
    if held is not None:
        held.close()


def remove_left(prefix: str, place: Union[str, os.PathLike[str], None] = None) -> None:
    """Remove the folders of make_held(prefix, place) whose processes have all died."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # there is no place for temporary files
        for folder in Path(place or tempfile.gettempdir()).glob(f"{prefix}*"):
            with contextlib.suppress(OSError):  # another process has removed it
                if folder not in _claims and _is_mine(folder) and _is_left(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_mine(folder: Path) -> bool:
    """Whether it is a folder, no link to one, of this user, and nobody else can have put anything into it."""
    status = os.lstat(folder)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _is_left(folder: Path) -> bool:
    """Whether processes have used it and none of them lives. Only locks that the system confirms tell that."""
    files = list(folder.glob(f"{USER}*"))
    return bool(files) and not any(map(_is_claimed, files))


def _is_claimed(file: Path) -> bool:
    handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also on a file system without locks
        return True
    finally:
        os.close(handle)
    return False
