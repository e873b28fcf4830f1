"""Writes files that appear whole or not at all."""

import contextlib
import csv
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

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
        with open(name, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(name, 0o666 & ~_umask())  # the mode of mkstemp would hide results from the user's group
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
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_csv(path: Union[str, os.PathLike[str]], header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as UTF-8 CSV, whole or not at all; numbers with all their digits, surrogates escaped. Raises OSError."""
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def remove_unfinished(folder: Union[str, os.PathLike[str]]) -> None:
    """Remove the temporary files that killed processes left in ``folder``; no process may be writing there."""
    for left in Path(folder).glob(f"{PREFIX}*"):
        left.unlink()


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
