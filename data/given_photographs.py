"""The photographs that a user names on the command line: files, and folders at any depth."""

import os
import sys
from pathlib import Path
from typing import Callable

from data.data_folder import DataFolder
from data.photograph_formats import may_be_photograph
from messages.terminal import printable


def name_unreadable(error: OSError) -> None:
    """Name a folder that cannot be read on stderr."""
    print(f"left out: {printable(error.filename)} cannot be read: {error.strerror}", file=sys.stderr)


def photographs_in(given: Path, on_error: Callable[[OSError], None] = name_unreadable) -> list[Path]:
    """The photographs in the folder ``given``, at any depth, sorted; ``given`` itself where it is no folder.

    Links are followed, because the user named this folder; it is not part of a data set from elsewhere. Calls ``on_error`` for
    each folder that cannot be read, and goes on.
    """
    if not os.path.isdir(given):  # Path.is_dir raises an error for a name that is too long
        return [given]
    return sorted(
        Path(path)
        for path, problem in DataFolder(given, follow_links=True).files_below(given, on_error)
        if problem is None and may_be_photograph(path)
    )
