"""Unpacks a data folder from an archive, ``--data photographs.zip``, once into the cache folder, where later runs find it.

Archives come from strangers. So entries must stay inside the folder, links and special files are refused, and files, bytes and
time are bounded: by what the archive says before anything is written, and by what comes while it is. The SHA-256 of the
archive's content names the folder. It appears whole or not at all: a process unpacks into a temporary folder and renames it,
and processes that start together wait for the first one. What a split refuses does not stay.

This module checks names and writes files itself, for zip and tar alike. tarfile's data_filter does not suffice: it accepts
links that stay inside, sees names before they are decoded (Windows stores Chinese names as GBK), bounds neither files nor
bytes, and is missing in the first releases of Python 3.9.
"""

import contextlib
import errno
import functools
import os
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, TypeVar, Union, cast

from data.archive_entries import CHUNK, ArchiveError, Limits, damaged, opened, too_many
from data.folder_walk import is_hidden
from data.lists import LABELS, TRAIN_LIST
from machine.cache_folder import cache_root
from machine.locks import locked
from machine.private_folder import NotPrivateError, check_private, make_private
from machine.regular_file import open_regular, sha256_of
from messages.quoting import named, quoted
from messages.reason import reason_of
from messages.terminal import print_line, printable
from messages.user_error import UserError

MAX_FILES = 1_000_000  # files and folders together
MAX_DEPTH = 64  # nested folders
MAX_RATIO = 100  # unpacked bytes for each byte of the archive; photographs barely shrink
ALWAYS_ALLOWED = 2**30  # bytes that any archive may unpack to, whatever the ratio
MIN_RATIO = 64  # bytes of the archive for each file and folder: a photograph of 16x16 takes more
FILES_ALWAYS_ALLOWED = 20_000  # in any archive, whatever the ratio
SLOWEST = 10**6  # bytes of the archive to unpack in a second
SECONDS_ALWAYS_ALLOWED = 600
SPARE_DISK = 2**29  # bytes to leave free
SPARE_FILES = 10_000  # files that the disk must have room for afterwards
UNPACKING = "unpacking-"
ACCEPTED = ".accepted"  # a hidden file in an unpacked folder: a split has used it
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, LookupError, OverflowError, RuntimeError, ValueError, struct.error,
    zlib.error,
)  # fmt: skip
"""Errors other than OSError that zipfile, tarfile and gzip raise on damaged archives."""


_Split = TypeVar("_Split", bound=Callable[..., Any])


def unpacked(archive: Union[str, os.PathLike]) -> Path:
    """The data folder from ``archive``, which is unpacked unless the cache holds it already. Raises ArchiveError.

    A single folder at the top is skipped: photographs.zip with photographs/cat/1.jpg gives the folder that holds cat.
    """
    archive = Path(archive)
    try:
        status = archive.stat()
        place = cache_root() / "data"
        folder = place / _digest(archive, status.st_size, status.st_mtime_ns, status.st_ino)
        if not folder.is_dir():
            make_private(place)
            with locked(place / "lock") as held:
                if not folder.is_dir():
                    _unpack(archive, folder, status.st_size, tidy=held)
        check_private(folder)
        return _top(folder)
    except OSError as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {reason_of(error, archive)}{_advice(error, archive)}") from None


def _advice(error, archive):
    """What helps against an error of the system, to go on with in its message."""
    if error.filename is not None and str(error.filename) == str(archive):
        return ""
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
        return "; unpack it yourself with other names and give --data the folder"
    wanted = "can be written"
    if isinstance(error, NotPrivateError):
        wanted = "is yours alone"
    elif error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        wanted = "has room"
    return f"; set XDG_CACHE_HOME to a folder that {wanted}: it is unpacked in there, now in {cache_root()}"


def kept_if_accepted(split: _Split) -> _Split:
    """A decorator of a function whose first argument, ``data``, may be an archive, and whose UserErrors refuse it.

    What was unpacked goes then, unless a call before has accepted it or it holds lists: a training may be using it.
    """

    @functools.wraps(split)
    def settled(data, *arguments, **options):
        archive = Path(data)
        try:
            result = split(data, *arguments, **options)
        except UserError:
            _settle(archive, accepted=False)
            raise
        _settle(archive, accepted=True)
        return result

    return cast(_Split, settled)


def _settle(archive, accepted):
    with contextlib.suppress(OSError):
        if not archive.is_file():
            return
        status = archive.stat()
        folder = cache_root() / "data" / _digest(archive, status.st_size, status.st_mtime_ns, status.st_ino)
        check_private(folder)
        if accepted:
            (folder / ACCEPTED).touch()
        elif not any(file.exists() for file in (folder / ACCEPTED, _top(folder) / LABELS, _top(folder) / TRAIN_LIST)):
            shutil.rmtree(folder)


@functools.lru_cache(maxsize=16)
def _digest(archive, size, modified, inode):
    """SHA-256 of the file's content; a process reads it once, and again only after the file has changed."""
    return sha256_of(archive)


def _top(folder):
    """The folder that holds the class folders or the lists: below ``folder``, past single folders that contain folders."""
    while not (folder / LABELS).exists() and not (folder / TRAIN_LIST).exists():
        inside = [entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name)]
        if len(inside) != 1 or not any(entry.is_dir() for entry in inside[0].iterdir()):
            break
        folder = inside[0]
    return folder


def _unpack(archive, folder, size, tidy):
    """Unpack into a temporary folder and rename it to ``folder``.

    ``size``: of the archive, in bytes. ``tidy``: no other process unpacks here, so that what killed ones left can be removed.
    Raises ArchiveError, OSError.
    """
    for left in folder.parent.glob(f"{UNPACKING}*") if tidy else ():
        shutil.rmtree(left, ignore_errors=True)
    by_ratio = max(ALWAYS_ALLOWED, MAX_RATIO * size)
    files_by_ratio = min(MAX_FILES, max(FILES_ALWAYS_ALLOWED, size // MIN_RATIO))
    limits = Limits(by_ratio, files_by_ratio, SECONDS_ALWAYS_ALLOWED + size / SLOWEST)
    work = Path(tempfile.mkdtemp(prefix=UNPACKING, dir=folder.parent))
    try:
        with open_regular(archive, sys.maxsize) as file, opened(archive, file, limits) as source:
            files, folders = _checked(archive, source.entries(), limits)
            by_disk = _room(archive, files, folders, folder.parent)
            reason = "the archive's size allows" if by_ratio <= by_disk else f"the disk of {folder.parent} has room for"
            max_bytes = min(by_ratio, by_disk)
            if sum(entry.size for _, entry in files) > max_bytes:
                raise _too_large(archive, max_bytes, reason)
            print_line(f"unpacking {printable(archive)} ({size / 1e6:.1f} MB), once for this content")
            _write(archive, source, files, work, max_bytes, reason, limits)
            source.check_end()
        if hasattr(os, "sync"):
            os.sync()  # so that after a power cut the folder is complete or missing
        try:
            work.rename(folder)
        except OSError as error:  # on a file system without locks another process may have been faster
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    except (ArchiveError, OSError) as error:
        # an OSError without a number comes from gzip or zipfile, not from the system
        if isinstance(error, OSError) and error.errno is None:
            raise damaged(archive, error) from None
        raise
    except DAMAGED as error:
        raise damaged(archive, error) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _checked(archive, entries, limits):
    """([(relative path, Entry), ...] of the files to write, how many folders they need).

    Raises ArchiveError for names that would leave the folder or contradict each other, for too many files, and for none.
    """
    kept = []
    for entry in entries:
        kept.append(entry)
        if len(kept) > limits.max_files:
            raise too_many(archive, limits.max_files)
        limits.check_time(archive)
    files, folders = {}, set()
    for entry, name in zip(kept, _decoded(archive, kept)):
        parts = _parts(archive, name)
        if not parts or "__MACOSX" in parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._"):
            continue
        path = "/".join(parts)
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if entry.is_folder:
            folders.add(path)
        elif path in files:
            raise ArchiveError(f"{archive} contains {named(name)} twice: pack it again")
        else:
            files[path] = entry
    both = next((path for path in files if path in folders), None)
    if both:
        raise ArchiveError(f"{archive} contains {named(both)} both as a file and as a folder: pack it again")
    if not files:
        raise ArchiveError(f"{archive} holds no files: pack the class folders with their photographs")
    if len(files) + len(folders) > limits.max_files:
        raise too_many(archive, limits.max_files, "files and folders")
    return list(files.items()), len(folders)


def _room(archive, files, folders, place):
    """The bytes of content that the disk of ``place`` has room for, apart from what each file and folder takes besides.

    Raises ArchiveError if it has no room for so many files.
    """
    room = shutil.disk_usage(place).free - SPARE_DISK
    if not hasattr(os, "statvfs"):  # on Windows
        return room
    disk = os.statvfs(place)
    number = len(files) + folders
    if disk.f_files and number > max(0, disk.f_favail - SPARE_FILES):  # some file systems have no such number, and say 0
        raise ArchiveError(
            f"{archive} holds {number:,} files and folders, and the disk of {place} has room for {disk.f_favail:,}, of which "
            f"{SPARE_FILES:,} stay free: set XDG_CACHE_HOME to a folder that has room"
        )
    block = disk.f_frsize
    return room - sum(-entry.size % block for _, entry in files) - folders * block


def _too_large(archive, max_bytes, reason):
    return ArchiveError(
        f"{archive} unpacks to more than the {max(0, max_bytes):,} bytes that {reason}: unpack it yourself and give --data the "
        f"folder"
    )


def _decoded(archive, entries):
    """The names of the entries as text.

    Names without the UTF-8 mark share the first encoding that decodes all of them: UTF-8, GBK (Chinese Windows) or code page
    437 (old zip files), which decodes anything.
    """
    unmarked = [entry.name for entry in entries if not entry.is_utf8]
    for encoding in ("utf-8", "gbk", "cp437"):
        with contextlib.suppress(UnicodeDecodeError):
            for name in unmarked:
                name.decode(encoding)
            break
    if encoding != "utf-8":
        print_line(f"note: the names in {printable(archive)} are not UTF-8; they are read as {encoding}")
    return [entry.name.decode("utf-8" if entry.is_utf8 else encoding) for entry in entries]


def _parts(archive, name):
    """The folders and the file name in an entry's name; raises ArchiveError if the name could lead out of the folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name or "\0" in name or ".." in parts:
        raise ArchiveError(
            f"{archive}: the name {quoted(name)} could lead out of the folder: pack it again with plain relative names"
        )
    if len(parts) > MAX_DEPTH:
        raise ArchiveError(f"{archive}: {name[:80]!r}... lies in more than {MAX_DEPTH} nested folders: pack it again")
    return parts


def _write(archive, source, files, work, max_bytes, reason, limits):
    """Write the files into ``work``; raises ArchiveError after ``max_bytes``, whatever sizes the headers claim."""
    total = 0
    made = set()
    for path, entry in files:
        target = os.path.join(work, path)
        parent = os.path.dirname(target)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        with source.open(entry.member) as content, open(target, "xb") as file:
            limits.check_time(archive)
            while chunk := content.read(CHUNK):
                total += len(chunk)
                if total > max_bytes:
                    raise _too_large(archive, max_bytes, reason)
                file.write(chunk)
                limits.check_time(archive)
