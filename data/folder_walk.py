"""Walks a folder of photographs: its files, links that lead out of it, loops of links."""

import os
import re
from collections.abc import Iterator
from typing import Callable, Optional, Union

OUTSIDE = "a link that leads out of the data folder; --follow_links follows it"
SEEN = "a link to a folder that was read already"
SYSTEM_NAMES = {
    *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "recycler"),  # Windows
    *("__macosx", "lost+found", "#recycle", "#snapshot", "@eadir"),  # macOS, Linux, network storage
}
RUN_NAME = re.compile("[0-9]{3,9}")
RUN_FILES = ("config.yaml", "table.json", "gradcam.png")
"""Of a training, a comparison or an explanation: one of them is in every folder that runs_dir/NAME/NNN stands for."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or belongs to the system."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_output(folder: Union[str, os.PathLike]) -> bool:
    """Whether this toolkit wrote the folder: pictures in it are no photographs of a class."""
    named_so = RUN_NAME.fullmatch(os.path.basename(folder))
    return bool(named_so) and any(os.path.isfile(os.path.join(folder, name)) for name in RUN_FILES)


def leads_out(path: Union[str, os.PathLike], root: Union[str, os.PathLike]) -> bool:
    """Whether ``path`` is outside the folder ``root``, with the links in both resolved."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    return real != base and not real.startswith(os.path.join(base, ""))


def files_below(
    folder: Union[str, os.PathLike],
    root: Union[str, os.PathLike],
    follow_links: bool = False,
    on_error: Optional[Callable[[OSError], None]] = None,
) -> Iterator[tuple[str, Optional[str]]]:
    """Yield (path, problem) of every visible file below ``folder``, at any depth; problem: None, or why the file is left out.

    Passes over hidden files and folders, those of the system and what this toolkit wrote.
    Follows links that stay in ``root``, with ``follow_links`` all links. Reads each folder once, even if several links lead to
    it, and by its own name if it has one here; never reads ``root`` again. So loops of links end, and the result is independent
    of the file system's order. Calls ``on_error`` for a folder that cannot be read and goes on; without it raises the OSError.
    """
    folders, links = [os.fspath(folder)], []
    seen = set() if os.fspath(folder) == os.fspath(root) else {_identity(root)}
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(here)
            if identity in seen:
                yield here, SEEN
                continue
            seen.add(identity)
            with os.scandir(here) as entries:
                found = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            if on_error is None:
                raise
            error.filename = error.filename or here  # an error in the middle of a folder names none
            on_error(error)
            continue
        for entry in found:
            if entry.is_symlink() and not follow_links and leads_out(entry.path, root):
                yield entry.path, OUTSIDE
            elif not os.path.isdir(entry.path) if entry.is_symlink() else not entry.is_dir():
                yield entry.path, None
            elif entry.is_symlink():
                links.append(entry.path)
            elif not is_output(entry.path):
                folders.append(entry.path)


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
