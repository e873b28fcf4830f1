"""Folders and files that no other user can change. Only from such ones is taken what runs as code, or what was checked before.

A folder counts as private if it belongs to this user or root, and if nobody else can change what its path leads to: each folder
and link above it belongs to this user, to root or to the owner of /, and only its owner can write to it. Two kinds of folders
above may be writable by more: those in which nobody can rename what is another user's (the sticky bit, as of /tmp), and those
of the owner's own group, which has the owner's name and no other member, as Debian, Ubuntu and Fedora give it to each user.

Windows has none of this in its file modes, and keeps a user's folders from others by itself: there every folder counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from machine.regular_file import NO_LINK

try:
    import grp
    import pwd
except ImportError:  # not on Windows
    grp = pwd = None  # type: ignore[assignment]

MAX_LINKS = 40  # on the way to a folder, as in Linux
ACL = "system.posix_acl_access"  # the extended attribute of Linux in which a file names further users
HANDLES = "/proc/self/fd"
_loaded: list[BinaryIO] = []  # files that were loaded as code: see loadable


class NotPrivateError(PermissionError):
    """Another user could have changed the file or folder; the message says which and why."""

    def __init__(self, reason: str):
        super().__init__(errno.EPERM, reason)


def make_private(folder: Path) -> None:
    """Make ``folder``, and the missing ones above it, with mode 0700 whatever the umask; raise NotPrivateError, OSError.

    A folder that is there stays as it is, and is checked as in check_private.
    """
    missing = []
    while not os.path.lexists(folder := Path(os.path.abspath(folder))):
        missing.append(folder)
        folder = folder.parent
    check_private(folder, above=bool(missing))
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster: it is checked below
            new.mkdir(mode=0o700)
        check_private(new)


def check_private(folder: Path, above: bool = False) -> None:
    """Raise NotPrivateError unless ``folder`` is private, OSError where it cannot be reached.

    ``above``: it is only to hold the private one, so that the rule of those above is enough.
    """
    if pwd is None:
        return
    levels = list(_levels(folder))
    if not stat.S_ISDIR(levels[-1][1].st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    of_root = levels[0][1].st_uid  # in some containers root's files seem to belong to nobody, and / as well
    for place, status in levels:
        is_last = not above and place == levels[-1][0]
        _check_owner(place, status, {0, os.geteuid()} if is_last else {0, os.geteuid(), of_root})
        if not stat.S_ISLNK(status.st_mode) and (is_last or not status.st_mode & stat.S_ISVTX):
            _check_writers(place, status)


def open_private(path: Path) -> BinaryIO:
    """Open a file in a private folder for reading: a regular one, no link, which only this user or root can have written.

    The checks are of the very file that is open. Raises NotPrivateError, OSError.
    """
    check_private(path.parent)
    flags = os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise NotPrivateError(f"{path} is a link") if error.errno == errno.ELOOP else error from None
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotPrivateError(f"{path} is no regular file")
        if pwd is not None:
            _check_owner(path, status, {0, os.geteuid()})
            _check_writers(path, status)
    except BaseException:
        file.close()
        raise
    return file


def is_private(path: Path) -> bool:
    """Whether there is such a file as open_private opens."""
    try:
        open_private(path).close()
    except OSError:
        return False
    return True


def loadable(path: Path) -> str:
    """A name of the file ``path`` to load it as code by: that of the file which open_private has opened and checked.

    The file stays open as long as the process lives: the loader takes a name that it knows for the same library. Without
    Linux's /proc it is ``path`` itself, which nobody else can exchange. Raises NotPrivateError, OSError.
    """
    file = open_private(path)
    name = f"{HANDLES}/{file.fileno()}"
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(name), os.fstat(file.fileno())):
            _loaded.append(file)
            return name
    file.close()
    return str(path)


def _levels(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and ``lstat`` of every folder and link on the way to ``path``, from / on, links followed."""
    here, links = os.sep, 0
    yield here, os.lstat(here)
    left, last = _names(os.path.abspath(path)), here
    while left:
        name = left.pop()
        if name == os.pardir:
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, name)
        status, last = os.lstat(place), place
        yield place, status
        if not stat.S_ISLNK(status.st_mode):
            here = place
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, "its links lead round in a circle", str(path))
        target = os.readlink(place)
        here = os.sep if os.path.isabs(target) else here
        left += _names(target)
    if last != here:  # a link ended in ".." or /
        yield here, os.lstat(here)


def _names(path):
    """The names in ``path``, the last one first."""
    return [name for name in reversed(path.split(os.sep)) if name not in ("", os.curdir)]


def _check_owner(place, status, trusted):
    if status.st_uid not in trusted:
        raise NotPrivateError(f"{place} belongs to another user")


def _check_writers(place, status):
    if status.st_mode & stat.S_IWOTH:
        raise NotPrivateError(f"other users can write to {place}")
    if status.st_mode & stat.S_IWGRP and not (_is_own_group(status.st_uid, status.st_gid) and not _has_acl(place)):
        raise NotPrivateError(f"its group can write to {place}")


def _is_own_group(user, group):
    """Whether nobody but ``user`` is in ``group``, as far as its name and its list of members tell."""
    try:
        account, entry = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return account.pw_gid == group and entry.gr_name == account.pw_name and set(entry.gr_mem) <= {account.pw_name}


def _has_acl(place):
    """Whether a list names more users and groups: its rights are within those that the mode shows as the group's."""
    try:
        return ACL in os.listxattr(place)
    except (AttributeError, OSError):  # no such system, no such file system
        return False
