"""Sorts photographs into folders by predicted class: links to them or copies, never the photographs themselves."""

import contextlib
import errno
import itertools
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from data.photographs import MAX_BYTES
from machine.regular_file import open_regular
from machine.whole_file import PREFIX
from messages.reason import reason_of
from prediction.predictions import Prediction

UNSURE = "unsure"
MAX_LETTERS = 100
UNUSABLE_NAME = (errno.ENAMETOOLONG, errno.EINVAL)  # the second: FAT has no colon, and others lack other letters


class _LeftOutError(Exception):
    """A photograph that cannot be sorted, although others can; the message is the reason."""


def sort_photographs(
    records: Iterable[Prediction], folder: Path, classes: list[str], copy: bool, left_out: Callable[[str, str], None]
) -> dict[str, int]:
    """Put every readable photograph into ``folder/CLASS``, unsure ones into ``folder/unsure``; returns {folder name: number}.

    As symbolic links, or with ``copy``, or where links cannot be made, as copies, which appear whole or not at all. Nothing is
    overwritten: a photograph of the same name gets a number, and one that is there already is passed over. Calls
    ``left_out(path, reason)`` for a photograph that has gone or cannot have its name there. Raises OSError where the folder
    cannot be written.
    """
    *of_classes, unsure = _folder_names([*classes, UNSURE])
    names = dict(zip(classes, of_classes))
    counts: dict[str, int] = {}
    for record in records:
        if not record.classes:
            continue
        name = unsure if record.unsure else names[record.name]
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        try:
            counts[name] = counts.get(name, 0) + _put(Path(record.path), place, copy)
        except _LeftOutError as error:
            left_out(record.path, str(error))
    return counts


def _put(photograph, place, copy):
    """1 if the photograph was put into the folder ``place``, 0 if it was there already; raises _LeftOutError, OSError."""
    try:
        file = open_regular(photograph, MAX_BYTES)  # before anything is made: it may have gone since
    except OSError as error:
        raise _LeftOutError(reason_of(error, photograph)) from None
    with file:
        for number in itertools.count(1):
            ending = f"_{number}" if number > 1 else ""
            target = place / f"{photograph.stem}{ending}{photograph.suffix}"
            if os.path.lexists(target):
                if _same(photograph, file, target):
                    return 0
                continue
            try:
                if copy or not _linked(photograph, target):
                    _copy(file, target)
            except FileExistsError:
                continue  # a file of this name has appeared meanwhile
            except OSError as error:
                if error.errno in UNUSABLE_NAME:
                    raise _LeftOutError(f"{place} cannot hold a file of this name") from None
                raise
            return 1


def _linked(photograph, target):
    try:
        target.symlink_to(os.path.abspath(photograph))
    except FileExistsError:
        raise
    except OSError:  # Windows lets only some users make links; some file systems have none
        return False
    return True


def _copy(file, target):
    """Copy an open file to ``target``, whole or not at all; raises FileExistsError where there is one already."""
    temporary = target.with_name(f"{PREFIX}{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as new:
            for part in _parts(file):
                new.write(part)
        try:
            os.link(temporary, target)  # never over another file, unlike a rename
        except FileExistsError:
            raise
        except OSError:  # FAT and some network file systems have no links
            with open(target, "xb"):
                pass
            try:
                os.replace(temporary, target)
            except BaseException:
                os.unlink(target)
                raise
    except OSError as error:
        error.filename = error.filename or str(target)  # the error of a full disk names no file
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _parts(file):
    """The content of an open photograph, in parts; raises _LeftOutError where it cannot be read any more."""
    try:
        file.seek(0)
        while part := file.read(2**20):
            yield part
    except OSError as error:
        raise _LeftOutError(reason_of(error)) from None


def _same(photograph, file, target):
    """Whether ``target`` is a link to the photograph or a copy of it, the open ``file``."""
    if target.is_symlink():
        return os.path.realpath(target) == os.path.realpath(photograph)
    try:
        with open_regular(target, MAX_BYTES) as other:
            if os.fstat(other.fileno()).st_size != os.fstat(file.fileno()).st_size:
                return False
            return all(part == other.read(len(part)) for part in _parts(file))
    except OSError:
        return False


def _folder_names(names):
    """A name of a folder for each of ``names``, all different; a class name from a stranger's run may hold anything."""
    folders, taken = [], set()
    for name in names:
        plain = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", name).strip(". ")[:MAX_LETTERS] or "_"
        folder, number = plain, 1
        while folder.lower() in taken:
            number += 1
            folder = f"{plain}_{number}"
        taken.add(folder.lower())
        folders.append(folder)
    return folders
