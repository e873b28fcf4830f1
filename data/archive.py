"""Unpacks a data folder from an archive, ``--data photographs.zip``, once into the cache folder, where later runs find it.

Archives come from strangers. So entries must stay inside the folder, links and special files are refused, and the unpacked
bytes are counted while they are written. The SHA-256 of the archive's content names the folder. It appears whole or not at all:
a process unpacks into a temporary folder and renames it, and processes that start together wait for the first one.

This module checks names and writes files itself, for zip and tar alike. tarfile's data_filter does not suffice: it accepts
links that stay inside, sees names before they are decoded (Windows stores Chinese names as GBK), bounds neither files nor
bytes, and is missing in the first releases of Python 3.9.
"""

import contextlib
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
from typing import Union

from data.archive_entries import CHUNK, ArchiveError, damaged, opened
from data.folder_walk import is_hidden
from data.lists import LABELS, TRAIN_LIST
from machine.cache_folder import cache_root, is_mine
from machine.locks import locked
from machine.regular_file import open_regular, sha256_of
from messages.quoting import named, quoted
from messages.reason import reason_of
from messages.terminal import print_line, printable

MAX_FILES = 1_000_000  # files and folders together
MAX_DEPTH = 64  # nested folders
MAX_RATIO = 100  # unpacked bytes for each byte of the archive; photographs barely shrink
ALWAYS_ALLOWED = 2**30  # bytes that any archive may unpack to, whatever the ratio
SPARE_DISK = 2**29  # bytes to leave free
UNPACKING = "unpacking-"
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, LookupError, OverflowError, RuntimeError, ValueError, struct.error,
    zlib.error,
)  # fmt: skip
"""Errors other than OSError that zipfile, tarfile and gzip raise on damaged archives."""


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
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(place / "lock"):
                if not folder.is_dir():
                    _unpack(archive, folder, status.st_size)
        if not is_mine(folder):
            raise ArchiveError(f"{folder}, the cache of {archive}, belongs to another user: set XDG_CACHE_HOME to your own")
        return _top(folder)
    except OSError as error:
        raise ArchiveError(
            f"{archive} cannot be unpacked: {reason_of(error, archive)}; set XDG_CACHE_HOME to a folder that has room and "
            f"can be written: it is unpacked in there, now in {cache_root()}"
        ) from None


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


def _unpack(archive, folder, size):
    """Unpack into a temporary folder and rename it to ``folder``, after removing what killed processes left.

    ``size``: of the archive, in bytes. Raises ArchiveError, OSError.
    """
    for left in folder.parent.glob(f"{UNPACKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    by_ratio = max(ALWAYS_ALLOWED, MAX_RATIO * size)
    by_disk = shutil.disk_usage(folder.parent).free - SPARE_DISK
    work = Path(tempfile.mkdtemp(prefix=UNPACKING, dir=folder.parent))
    try:
        with open_regular(archive, sys.maxsize) as file, opened(archive, file, by_ratio) as source:
            files = _checked(archive, source.entries())
            print_line(f"unpacking {printable(archive)} ({size / 1e6:.1f} MB), once for this content")
            reason = "the archive's size allows" if by_ratio <= by_disk else f"the disk of {folder.parent} has room for"
            _write(archive, source, files, work, min(by_ratio, by_disk), reason)
            source.check_end()
        if hasattr(os, "sync"):
            os.sync()  # so that after a power cut the folder is complete or missing
        with contextlib.suppress(FileExistsError):  # on a file system without locks another process may have been faster
            work.rename(folder)
    except (ArchiveError, OSError) as error:
        # an OSError without a number comes from gzip or zipfile, not from the system
        if isinstance(error, OSError) and error.errno is None:
            raise damaged(archive, error) from None
        raise
    except DAMAGED as error:
        raise damaged(archive, error) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _checked(archive, entries):
    """[(relative path, Entry), ...] of the files to write.

    Raises ArchiveError for names that would leave the folder or contradict each other, for too many files, and for none.
    """
    kept = []
    for entry in entries:
        kept.append(entry)
        if len(kept) > MAX_FILES:
            raise ArchiveError(f"{archive} holds more than {MAX_FILES:,} files: unpack it yourself and give --data the folder")
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
    if len(files) + len(folders) > MAX_FILES:
        raise ArchiveError(
            f"{archive} holds more than {MAX_FILES:,} files and folders: unpack it yourself and give --data the folder"
        )
    return list(files.items())


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


def _write(archive, source, files, work, max_bytes, reason):
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
            while chunk := content.read(CHUNK):
                total += len(chunk)
                if total > max_bytes:
                    raise ArchiveError(
                        f"{archive} unpacks to more than the {max_bytes:,} bytes that {reason}: unpack it yourself and give "
                        f"--data the folder"
                    )
                file.write(chunk)
