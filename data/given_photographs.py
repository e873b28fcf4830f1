"""The photographs that a user names on the command line: files, and folders at any depth."""

import sys
from pathlib import Path

from data.data_folder import DataFolder
from data.photograph_formats import may_be_photograph
from messages.terminal import printable


def photographs_in(given: Path) -> list[Path]:
    """The photographs in the folder ``given``, at any depth, sorted; ``given`` itself where it is no folder.

    Links are followed, because the user named this folder; it is not part of a data set from elsewhere. Names folders that
    cannot be read on stderr.
    """
    if not given.is_dir():
        return [given]
    inside = []
    try:
        for path, problem in DataFolder(given, follow_links=True).files_below(given):
            if problem is None and may_be_photograph(path):
                inside.append(Path(path))
    except OSError as error:
        print(f"left out: {printable(error.filename)} cannot be read: {error.strerror}", file=sys.stderr)
    return sorted(inside)
