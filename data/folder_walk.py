"""What lies in a folder of photographs: its files, links that lead out of it, loops of links."""

import os
from collections.abc import Iterator
from typing import Optional, Union

OUTSIDE = "a link that leads out of the data folder; --follow_links takes it all the same"
SEEN = "a link to a folder that is read already"
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's photographs."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def leads_out(path: Union[str, os.PathLike], root: Union[str, os.PathLike]) -> bool:
    """Whether ``path``, with all links followed, is outside of the folder ``root``, itself with links followed."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    return real != base and not real.startswith(os.path.join(base, ""))


def files_below(
    folder: Union[str, os.PathLike], root: Union[str, os.PathLike], follow_links: bool = False
) -> Iterator[tuple[str, Optional[str]]]:
    """Yield (path, problem) of every visible file below ``folder``, at any depth; problem: None, or why it is left out.

    Links are followed where they stay in ``root``, with ``follow_links`` wherever they lead. Each folder is read once, however
    many links lead to it, first by its own name, and ``root`` not once more: loops of links end, and the result does not
    depend on the file system's order. Raises OSError for a folder that cannot be read.
    """
    folders, links = [os.fspath(folder)], []
    seen = set() if os.fspath(folder) == os.fspath(root) else {_identity(root)}
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        if _identity(here) in seen:
            yield here, SEEN
            continue
        seen.add(_identity(here))
        with os.scandir(here) as entries:
            found = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
        for entry in found:
            if entry.is_symlink() and not follow_links and leads_out(entry.path, root):
                yield entry.path, OUTSIDE
            elif not os.path.isdir(entry.path) if entry.is_symlink() else not entry.is_dir():
                yield entry.path, None
            elif entry.is_symlink():
                links.append(entry.path)
            else:
                folders.append(entry.path)


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
