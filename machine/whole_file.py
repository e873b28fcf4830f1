"""Files that appear whole or not at all."""

import contextlib
import csv
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

PREFIX = ".unfinished-"


@contextlib.contextmanager
def whole_file(path: Union[str, os.PathLike[str]]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, its file takes the place of ``path`` at once.

    When the block raises, ``path`` is as it was and the temporary file is gone. Data are on the disk before the rename, and the
    rename before this returns, so that after a power cut there is the old file or the new one. A process that is killed leaves
    its temporary file behind: see remove_unfinished.
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
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's own mode would hide results from the user's group
        os.replace(name, path)
        _sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # a full disk does not say which file it refused
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_text(path: Union[str, os.PathLike[str]], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all; bytes of a name that are no UTF-8 escaped, as JSON writes them."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_csv(path: Union[str, os.PathLike[str]], header: Iterable[str], rows: Iterable) -> None:
    """Write a table as UTF-8 CSV, whole or not at all; numbers with all their digits, bytes that are no UTF-8 escaped."""
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def remove_unfinished(folder: Union[str, os.PathLike[str]]) -> None:
    """Remove the temporary files that killed processes left in ``folder``; nobody may be writing there now."""
    for left in Path(folder).glob(f"{PREFIX}*"):
        left.unlink()


def _sync_folder(folder):
    if os.name != "posix":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot, such as some of networks
            raise
    finally:
        os.close(handle)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
