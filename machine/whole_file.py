"""Writes files that appear whole or not at all, and follows no link: one in the place of a file is replaced itself."""

import contextlib
import csv
import errno
import itertools
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, Union

from machine.regular_file import NO_LINK
from messages.spreadsheet import defused

PREFIX = ".unfinished-"


@contextlib.contextmanager
def whole_file(path: Union[str, os.PathLike[str]]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends without an error, its file replaces ``path`` at once.

    If the block raises, ``path`` stays unchanged and the temporary file is removed. The data reach the disk before the rename,
    and the rename before this returns, so a power cut leaves the old file or the new one. A killed process leaves its temporary
    file behind: see remove_unfinished. Raises OSError.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+", opener=without_links) as written:
            if hasattr(os, "fchmod"):  # the mode of mkstemp would hide results from the user's group; not on Windows
                os.fchmod(written.fileno(), 0o666 & ~_umask())
            os.fsync(written.fileno())
        os.replace(name, path)
        _sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # the error of a full disk names no file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_text(path: Union[str, os.PathLike[str]], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all; surrogates (bytes of a name that are not UTF-8) are escaped as in JSON.

    Raises OSError.
    """
    with whole_file(path) as temporary, open(temporary, "wb", opener=without_links) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Union[str, os.PathLike[str]], value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all; NaN and infinity, which JSON does not know, become null. Raises OSError."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Union[str, os.PathLike[str]], header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as UTF-8 CSV, whole or not at all; numbers with all their digits, surrogates escaped, formulas defused: see
    messages.spreadsheet. Raises OSError."""
    with whole_file(path) as temporary, for_text(temporary) as file:
        writer = csv.writer(file)
        for row in itertools.chain([header], rows):
            writer.writerow(map(defused, row))


def for_text(path: Union[str, os.PathLike[str]]) -> TextIO:
    """Open the file ``path`` to write text as write_csv does, in parts; raises OSError where it is a link."""
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="", opener=without_links)


def without_links(path: str, flags: int) -> int:
    """An opener for ``open``, which raises OSError where the file is a link."""
    return os.open(path, flags | NO_LINK, 0o666)


def remove_unfinished(folder: Union[str, os.PathLike[str]]) -> None:
    """Remove the temporary files that killed processes left in ``folder``; no process may be writing there."""
    for left in Path(folder).glob(f"{PREFIX}*"):
        left.unlink()


def _finite(value):
    """``value``, of dicts, lists, text and numbers, with None for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def _sync_folder(folder):
    if os.name != "posix":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems, such as network ones, cannot do it
            raise
    finally:
        os.close(handle)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
