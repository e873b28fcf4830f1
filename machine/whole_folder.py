"""Makes a folder that appears whole or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine.locks import ClaimedError, claim

LOCK = ".lock"
TRIES = 100


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; when the block ends without an error, it takes the place of ``path``.

    A folder that is there already stays as it is until then, and goes as a whole. If the block raises, the new folder is
    removed. What a killed process left of its own is removed by the next call. Raises OSError, also where ``path`` is a file or
    a link: what it leads to is not ours to replace.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise FileExistsError(errno.EEXIST, "it is no folder: move it away", str(path))
    _tidy(path)
    new = Path(tempfile.mkdtemp(prefix=_prefix("new", path), dir=path.parent))
    try:
        with _claimed(new):
            yield new
            for file in new.rglob("*"):
                if file.is_file() and file != new / LOCK:  # closing it would release the claim: POSIX locks end at any close
                    _sync(file)
            os.chmod(new, 0o777 & ~_umask())  # mkdtemp lets nobody else read it
            _put(new, path)
            (path / LOCK).unlink(missing_ok=True)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # the error of a full disk names no file
        shutil.rmtree(new, ignore_errors=True)
        raise


def _prefix(kind: str, path: Path) -> str:
    return f".{kind}-{path.name}-"


def _put(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``. A folder cannot replace a full one in one step: the old one is set aside for that moment."""
    old = path.with_name(new.name.replace(_prefix("new", path), _prefix("old", path)))
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            os.rename(new, path)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(old, ignore_errors=True)  # another process has put its folder there meanwhile
        finally:
            if old.is_dir() and not path.exists():
                os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _tidy(path: Path) -> None:
    """Remove what killed processes left beside ``path``; put the old folder back if it was set aside."""
    for old in path.parent.glob(f"{_prefix('old', path)}*"):
        if not path.exists():
            with contextlib.suppress(OSError):
                os.rename(old, path)
        shutil.rmtree(old, ignore_errors=True)
    if os.name != "posix":  # without the lock below, another process may be at work in it
        return
    for new in path.parent.glob(f"{_prefix('new', path)}*"):
        with contextlib.suppress(ClaimedError, OSError), _claimed(new):
            shutil.rmtree(new, ignore_errors=True)


def _claimed(new: Path) -> contextlib.AbstractContextManager[Any]:
    """While it is held, another process knows that this one works in the folder ``new``. Windows renames no folder with an open
    file in it."""
    return claim(new / LOCK) if os.name == "posix" else contextlib.nullcontext()


def _sync(file: Path) -> None:
    with open(file, "rb+") as written:
        os.fsync(written.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
